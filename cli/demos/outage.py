"""Story of three outages: mail that comes late, a booking that is compensated, and a charge that takes its time."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from cli.demos.breakage import Breakage
from cli.demos.hours import window_after
from cli.demos.payment_methods import BY_CARD, WITH_CREDITS
from cli.demos.waiting import once_available, refusal, until
from cli.demos.wording import facts_of_error, price, slot, status
from cli.gyms import FIELD_STREET
from contracts.service_error import ServiceError
from solo60.payment.v1.payment_pb2 import ListSessionPaymentsRequest
from solo60.session.v1.session_pb2 import CheckConflictsRequest, SessionStatus

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from cli.demos.stage import Stage
    from cli.demos.story import Fact, Person, Step
    from solo60.gym.v1.gym_pb2 import Gym
    from solo60.session.v1.session_pb2 import Session

CREDITS = 50
SLOWNESS_S = 1.5


async def outage(stage: Stage) -> AsyncIterator[Step]:
    """Tell the story. Each service that the story breaks is running again at the end of the step."""
    stage.inbox.require_readable()
    breakage, gym = Breakage(stage.settings), await stage.gym(FIELD_STREET)
    dana = await stage.member("Dana Demo", CREDITS)
    async for step in _without_mail(stage, breakage, dana, gym):
        yield step
    async for step in _killed(stage, breakage, dana, gym):
        yield step
    yield await _slow(stage, breakage, dana, gym)


async def _without_mail(stage: Stage, breakage: Breakage, dana: Person, gym: Gym) -> AsyncIterator[Step]:
    async with breakage.suspended("communication"):
        session = await stage.book(dana, gym, BY_CARD)
        yield stage.step(
            "booked without mail",
            f"The communication service hangs. Dana books {slot(session.period)} all the same, and pays "
            f"{price(session.price)} by card.",
            _facts_of(session),
        )
    mails = await stage.inbox.wait_for(dana, 2)
    yield stage.step(
        "mailed later",
        "The communication service goes on. The outbox delivers the mails.",
        {"mails": len(mails)},
        mails=mails,
    )


async def _killed(stage: Stage, breakage: Breakage, dana: Person, gym: Gym) -> AsyncIterator[Step]:
    balance, taken = await stage.balance(dana), await _count_taken(stage, gym)
    async with breakage.suspended("payment"):
        booking = asyncio.create_task(stage.book(dana, gym, WITH_CREDITS))
        await until(lambda: _count_taken(stage, gym), lambda count: count > taken, "the slot held for Dana")
        breakage.kill("payment")
    error = await refusal(booking, ServiceError)
    await until(lambda: _count_taken(stage, gym), lambda count: count == taken, "the end of the hold")
    yield stage.step(
        "payment killed",
        "The payment service is killed while it charges. The booking fails, and the slot is free again.",
        facts_of_error(error),
    )

    after = await until(
        lambda: once_available(lambda: stage.balance(dana)), lambda found: found == balance, "the return of the credits"
    )
    # The session service may connect to the payment service a moment later than this program.
    session = await once_available(lambda: stage.book(dana, gym, WITH_CREDITS))
    yield stage.step(
        "booked again",
        "The mesh has started the payment service again. Dana has lost no credits, and books once more.",
        {
            **_facts_of(session),
            "credits_before": balance,
            "credits_after_outage": after,
            "credits_after_booking": await stage.balance(dana),
        },
        mails=await stage.inbox.wait_for(dana, 2),
    )


async def _slow(stage: Stage, breakage: Breakage, dana: Person, gym: Gym) -> Step:
    began_s = time.monotonic()
    async with breakage.suspended("payment"):
        booking = asyncio.create_task(stage.book(dana, gym, BY_CARD))
        await asyncio.sleep(SLOWNESS_S)
    session = await booking
    request = ListSessionPaymentsRequest(session_id=session.session_id)
    payments = (await stage.payments.ListSessionPayments(request)).payments
    return stage.step(
        "payment slow",
        f"The payment service takes {SLOWNESS_S} seconds longer. The booking waits for it, and is charged once.",
        {**_facts_of(session), "seconds": round(time.monotonic() - began_s), "payments": len(payments)},
        mails=await stage.inbox.wait_for(dana, 2),
    )


async def _count_taken(stage: Stage, gym: Gym) -> int:
    """Return the number of taken periods in a gym, with those that are held for a booking under way."""
    request = CheckConflictsRequest(gym_id=gym.gym_id, period=window_after(stage.clock.now()))
    return len((await stage.sessions.CheckConflicts(request)).conflicting_periods)


def _facts_of(session: Session) -> dict[str, Fact]:
    return {"status": status(SessionStatus.Name(session.status)), "session_id": session.session_id}
