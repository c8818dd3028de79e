"""Movable clock of a mesh of real processes."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from contracts.services import SERVICE_NAMES
from interceptors.idempotency import IDEMPOTENCY_KEY
from local.keys import OPERATOR
from local.mail_sink import read_mails
from local.movable_clock import CLOCK_NAME
from mesh.clock import read_offset
from mesh.serving.channel import Channels
from solo60.communication.v1.communication_pb2 import Recipient, SendEmailAsyncRequest
from solo60.communication.v1.communication_pb2_grpc import CommunicationServiceStub
from solo60.mesh.v1.outbox_pb2 import GetScheduleRequest
from solo60.mesh.v1.outbox_pb2_grpc import OutboxServiceStub
from solo60.subscription.v1.subscription_pb2 import CreateSubscriptionRequest, PaymentMethod
from solo60.subscription.v1.subscription_pb2_grpc import SubscriptionServiceStub
from solo60.user.v1.user_pb2 import CreateUserRequest
from solo60.user.v1.user_pb2_grpc import UserServiceStub
from tests.support.local_mesh import LocalMesh, all_gone, process_of, wait_for

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

pytestmark = pytest.mark.system

TEN_HOURS = "01980000-0000-7000-8000-00000000000a"
GOOD_CARD = PaymentMethod(card_token="tok_visa")  # noqa: S106 - a test card
# Days between the reminder of a trial and its end.
REMINDED_BEFORE = 3
SOON = timedelta(minutes=1)


@pytest.fixture(scope="module")
def mesh() -> Iterator[LocalMesh]:
    """Start a mesh with a movable clock for all tests of this module."""
    with LocalMesh.in_new_folder() as mesh:
        mesh.up("--clock")
        yield mesh


@asynccontextmanager
async def channels_of(mesh: LocalMesh) -> AsyncIterator[Channels]:
    """Connect to a mesh as its operator."""
    key = mesh.settings.key_path_of(OPERATOR).read_text().strip()
    channels = Channels(mesh.settings, lambda: key)
    try:
        yield channels
    finally:
        await channels.close()


def now_of(mesh: LocalMesh) -> datetime:
    """Return the time of a mesh."""
    return datetime.now(UTC) + read_offset(mesh.data_dir / CLOCK_NAME)


def advance(mesh: LocalMesh, duration: str) -> list[dict[str, Any]]:
    """Advance the clock, assert that no work is left open, and return the steps."""
    done = mesh.solo60("clock", "advance", duration, "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["open"] == []
    steps: list[dict[str, Any]] = result["steps"]
    return steps


async def times_of_services(mesh: LocalMesh) -> list[datetime]:
    """Return the time of each service's clock."""
    async with channels_of(mesh) as channels:
        stubs = [channels.stub(OutboxServiceStub, at=name) for name in SERVICE_NAMES]
        answers = await asyncio.gather(*(stub.GetSchedule(GetScheduleRequest()) for stub in stubs))
    return [answer.now.ToDatetime(UTC) for answer in answers]


async def start_trial(channels: Channels, days: int) -> str:
    """Subscribe a new member with a trial, and return the member's address."""
    email = f"{uuid4().hex}@members.example"
    user = (await channels.stub(UserServiceStub).CreateUser(CreateUserRequest(email=email, display_name="Ada"))).user
    request = CreateSubscriptionRequest(
        user_id=user.user_id, plan_id=TEN_HOURS, payment_method=GOOD_CARD, trial_days=days
    )
    await channels.stub(SubscriptionServiceStub).CreateSubscription(request)
    return email


async def test_reminders_arrive_on_their_days_and_in_order(mesh: LocalMesh) -> None:
    """After an advance of eight days, the reminder of the third day has arrived, and later that of the seventh."""
    began = now_of(mesh)
    async with channels_of(mesh) as channels:
        later = await start_trial(channels, 7 + REMINDED_BEFORE)
        sooner = await start_trial(channels, 3 + REMINDED_BEFORE)

    steps = advance(mesh, "8d")

    arrivals = [(mail.recipient, (mail.received - began).days) for mail in read_mails(mesh.settings.inbox_folder)]
    assert arrivals.index((sooner, 3)) < arrivals.index((later, 7))
    times = [datetime.fromisoformat(step["time"]) for step in steps]
    assert times == sorted(times)
    assert {3, 7} <= {(time - began).days for time in times}


async def test_every_service_keeps_the_time_after_a_restart(mesh: LocalMesh) -> None:
    """After an advance, all services have the same time, also one that was restarted and one that was killed."""
    before = now_of(mesh)
    advance(mesh, "1w")
    assert mesh.solo60("restart", "gym").returncode == 0
    killed = process_of(mesh, "user")
    killed.kill()
    wait_for(lambda: all_gone([killed]))
    wait_for(mesh.is_serving)

    times = await times_of_services(mesh)

    assert before + timedelta(days=7) <= min(times)
    assert max(times) <= now_of(mesh) < before + timedelta(days=7) + SOON


async def test_a_repeated_call_gets_its_first_answer_after_an_advance(mesh: LocalMesh) -> None:
    """A caller that repeats a call with its key during a move of the clock gets the first answer."""
    request = SendEmailAsyncRequest(
        recipient=Recipient(email="ada@members.example"),
        template_key="PASSWORD_CHANGED",
        variables={"member_name": "Ada"},
    )
    key = ((IDEMPOTENCY_KEY, uuid4().hex),)
    async with channels_of(mesh) as channels:
        send = channels.stub(CommunicationServiceStub).SendEmailAsync
        first = await send(request, metadata=key)
        advance(mesh, "8d")
        assert await send(request, metadata=key) == first


def test_seed_books_in_the_future_of_the_mesh(mesh: LocalMesh) -> None:
    """After an advance, `seed` books sessions after the time of the mesh."""
    advance(mesh, "40d")

    done = mesh.solo60("seed", "--members", "5", "--json")

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["bookings"] > 0
    query = "select extract(epoch from min(lower(period))) from sessions where idempotency_key like 'seed/%'"
    first = mesh.solo60("psql", "session", "--", "-At", "-c", query)
    assert float(first.stdout) > now_of(mesh).timestamp()


@pytest.mark.soak
def test_the_time_of_a_mesh_survives_its_end(mesh: LocalMesh) -> None:
    """A mesh that starts again with --clock continues with its time. Without --clock, `up` warns of the moved clock."""
    advance(mesh, "12h")
    ahead = read_offset(mesh.data_dir / CLOCK_NAME)
    mesh.close()

    mesh.up()
    assert "`solo60 up --clock` continues with that time" in mesh.output
    refused = mesh.solo60("clock", "advance", "1d")
    assert refused.returncode == 1
    assert "cannot be moved: stop it, and start it with `solo60 up --clock`." in refused.stderr
    mesh.close()

    mesh.up("--clock")
    assert "solo60 clock advance 7d" in mesh.output
    assert read_offset(mesh.data_dir / CLOCK_NAME) == ahead
    shown = json.loads(mesh.solo60("clock", "show", "--json").stdout)
    assert abs(datetime.fromisoformat(shown["now"]) - now_of(mesh)) < SOON
