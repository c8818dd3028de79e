"""Story of a booking: a member books an hour and pays; a second booking and a call without a key are rejected."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc.aio

from cli.demos.evidence import spans_of, traced
from cli.demos.payment_methods import WITH_CREDITS
from cli.demos.waiting import refusal
from cli.demos.wording import facts_of_error, facts_of_session, slot
from cli.gyms import FIELD_STREET
from contracts.errors import SlotTaken, Unauthenticated
from contracts.status import error_of_call
from mesh.connection import connection_options
from solo60.session.v1.session_pb2 import BookSessionRequest, GetSessionRequest, GetSessionResponse

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from cli.demos.stage import Stage
    from cli.demos.story import Step

CREDITS = 20
TIMEOUT_S = 15.0
GET_SESSION = "/solo60.session.v1.SessionService/GetSession"


async def booking(stage: Stage) -> AsyncIterator[Step]:
    """Tell the story. Each run books a different free hour."""
    dana, gym = await stage.member("Dana Demo", CREDITS), await stage.gym(FIELD_STREET)
    with traced("booking") as trace_id:
        session = await stage.book(dana, gym, WITH_CREDITS)
    yield stage.step(
        "booked",
        f"Dana books {gym.name} for {slot(session.period)}, and pays {session.credits} credits.",
        facts_of_session(session, credits=session.credits, balance=await stage.balance(dana)),
        mails=await stage.inbox.wait_for(dana, 2),
        spans=await spans_of(stage.settings, trace_id, ["session", "user", "gym", "payment", "communication"]),
    )

    again = BookSessionRequest(
        user_id=dana.user_id, gym_id=gym.gym_id, period=session.period, payment_method=WITH_CREDITS
    )
    taken = await refusal(stage.sessions.BookSession(again), SlotTaken)
    yield stage.step("slot taken", "A second booking of the same slot is rejected.", facts_of_error(taken))

    locked = await refusal(_read_without_a_key(stage, session.session_id), Unauthenticated)
    yield stage.step("no key", "Reading the session without an API key is rejected.", facts_of_error(locked))


async def _read_without_a_key(stage: Stage, session_id: str) -> None:
    options = connection_options(through_proxy=stage.settings.calls_through_proxy)
    async with grpc.aio.insecure_channel(stage.settings.url_of("session"), options) as channel:
        get_session = channel.unary_unary(
            GET_SESSION, GetSessionRequest.SerializeToString, GetSessionResponse.FromString
        )
        try:
            await get_session(GetSessionRequest(session_id=session_id), timeout=TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            raise error_of_call(error, GET_SESSION[1:]) from error
