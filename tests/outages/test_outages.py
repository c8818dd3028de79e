"""Each journey with every call lost, unanswered or late, and with each service down."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import SecretStr

from local.mail_sink import MailSink
from tests.outages import journeys
from tests.outages.faults import FaultKind, FirstCallsFail
from tests.outages.outage_mesh import SERVICES, OutageMesh

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from tests.support.postgres import DatabaseFactory
    from tests.support.serving import Serve

    Start = Callable[[FaultKind], AbstractAsyncContextManager[OutageMesh]]
    Journey = Callable[[OutageMesh], Awaitable[dict[str, Any]]]

JOURNEYS: dict[str, tuple[Journey, dict[str, Any]]] = {
    "cancellation": (
        journeys.cancellation,
        {
            "sessions": ["cancelled"],
            "payments": ["refunded"],
            "captured": 0,
            "balance": 100,
            "mails": {
                "owner: Booked Gym": 1,
                "owner: Cancelled Gym": 1,
                "guest: Ada Byron": 1,
                "guest: Your invitation": 1,
                "waiting: Free again": 1,
            },
        },
    ),
    "approval": (
        journeys.approval,
        {
            "sessions": ["confirmed", "rejected"],
            "payments": ["captured", "refunded"],
            "captured": 1,
            "balance": 97,
            "mails": {"admins: Approval needed": 2, "owner: Approved Gym": 1, "owner: Not approved": 1},
        },
    ),
    "move and offer": (
        journeys.move_and_offer,
        {
            "sessions": ["confirmed", "confirmed"],
            "payments": ["captured", "captured"],
            "captured": 2,
            "balance": 97,
            "mails": {
                "owner: Booked Gym": 1,
                "owner: Moved Gym": 1,
                "waiting: Held for": 1,
                "waiting: Booked Gym": 1,
            },
        },
    ),
    "subscription": (
        journeys.subscription,
        {
            "status": "SUBSCRIPTION_STATUS_ACTIVE",
            "is cancelled": False,
            "grants": 3,
            "mails": {
                "owner: Welcome to": 1,
                "owner: Four hours": 4,
                "owner: 40 credits": 2,
                "owner: Your payment": 1,
                "owner: Your subscription": 2,
            },
        },
    ),
    "sign-up": (
        journeys.sign_up,
        {
            "is confirmed": [True],
            "passwords": 1,
            "has new tokens": True,
            "mails": {
                "owner: Please confirm": 1,
                "owner: Set a": 1,
                "owner: Your password": 1,
            },
        },
    ),
}
# Some answers come after this part of their deadline, so the rest of the journey has less time for each call.
SHORT_DEADLINES = 0.5


@pytest.fixture
def start(serve: Serve, database_url: DatabaseFactory, tmp_path: Path) -> Start:
    """Return a function that starts every service with a kind of fault."""
    folder = tmp_path / "inbox"

    @asynccontextmanager
    async def start(kind: FaultKind) -> AsyncIterator[OutageMesh]:
        async with MailSink(folder, port=0) as mail_sink:
            deadlines = {"deadline_factor": SHORT_DEADLINES} if kind is FaultKind.ANSWER_LATE else {}
            services = await serve(
                smtp_url=SecretStr(mail_sink.url), rate_limit_factor=1000.0, database_connections=5, **deadlines
            )
            urls = {name: await database_url(name) for name in SERVICES}
            mesh = OutageMesh(services, folder, {name: FirstCallsFail(kind) for name in SERVICES}, urls)
            for name in SERVICES:
                await mesh.start(name)
            yield mesh
            await services.close()

    return start


# The other kinds of faults are long forms, run by `make proofs`.
KINDS = [
    pytest.param(kind, id=kind.name, marks=() if kind is FaultKind.ANSWER_LOST else pytest.mark.soak)
    for kind in FaultKind
]


@pytest.mark.requirement("J6")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("journey", JOURNEYS)
async def test_each_journey_survives_faults_in_all_its_calls(start: Start, journey: str, kind: FaultKind) -> None:
    """If the first calls of each method fail, a journey ends in the same state and with the same mails."""
    run, expected = JOURNEYS[journey]

    async with start(kind) as mesh:
        facts = await run(mesh)

        broken = sum(sum(fault.broken.values()) for fault in mesh.faults.values())

    assert facts == expected
    assert (broken > 0) == (kind is not FaultKind.NONE)


@pytest.mark.requirement("J6")
@pytest.mark.soak
@pytest.mark.parametrize("journey", JOURNEYS)
async def test_each_journey_survives_restarts_of_all_services(start: Start, journey: str) -> None:
    """If all services go down and return in turn, a journey ends in the same state and with the same mails."""
    run, expected = JOURNEYS[journey]

    async with start(FaultKind.NONE) as mesh:
        running = asyncio.ensure_future(run(mesh))
        while not running.done():
            for name in SERVICES:
                await mesh.stop(name)
                await mesh.start(name)
        facts = await running

    assert facts == expected
