from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from pydantic import SecretStr

from local.mail_sink import MailSink
from mesh.outbox.broker import Broker
from mesh.outbox.message import OutboxMessage
from services.gym import app as gym
from services.payment import app as payment
from services.session import app as session
from services.user import app as user
from solo60.session.v1.session_pb2 import (
    SESSION_STATUS_CANCELLED,
    SESSION_STATUS_CONFIRMED,
    CancelSessionRequest,
    OnUserLeftRequest,
)
from solo60.user.v1.events_pb2 import UserLeft
from solo60.user.v1.user_pb2 import UpdateUserRequest, User, UserState
from tests.services.session.booking_mesh import BY_CARD, HOUR, SERVICES, TOMORROW, BookingMesh, book_request
from tests.support.eventually import eventually
from tests.support.nats import NatsServer, nats

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.support.serving import Serve

__all__ = ["nats"]

ON_USER_LEFT = "solo60.session.v1.SessionService/OnUserLeft"
HAS_PENDING = "select exists (select from outbox where status = 'pending')"
BY_DESTINATION = "select destination, count(*)::int from outbox where status = 'delivered' group by destination"


@pytest.fixture
async def booking_mesh(
    serve: Serve, urls: dict[str, str], tmp_path: Path, nats: NatsServer
) -> AsyncIterator[BookingMesh]:
    """Serve everything that a booking needs, with a broker between the outboxes."""
    folder = tmp_path / "inbox"
    over_nats = {"outbox_transport": "nats", "nats_url": nats.url}
    async with MailSink(folder, port=0) as mail_sink:
        mesh = await serve(*SERVICES.values(), smtp_url=SecretStr(mail_sink.url), **over_nats)
        yield BookingMesh(mesh, urls, folder)
        await mesh.close()


async def delivered(booking_mesh: BookingMesh, service: str) -> dict[str, int]:
    """Return the number of delivered messages of a service's outbox by method, once no message is pending."""
    database = booking_mesh.mesh.database(service)

    async def nothing_is_pending() -> bool:
        async with database.connection() as connection:
            return not await connection.fetchval(HAS_PENDING)

    await eventually(nothing_is_pending)
    async with database.connection() as connection:
        return {each[0].rpartition("/")[2]: each[1] for each in await connection.fetch(BY_DESTINATION)}


@pytest.mark.requirement("J1", "J2")
async def test_a_cancelled_booking_is_refunded_over_the_broker(booking_mesh: BookingMesh) -> None:
    """With a broker, a booking and its cancellation still lead to one charge, one refund and two mails."""
    booked = await booking_mesh.book(
        book_request(await booking_mesh.create_member(), await booking_mesh.create_gym(), by=BY_CARD)
    )
    await booking_mesh.sessions.CancelSession(CancelSessionRequest(session_id=booked.session_id))

    async def is_refunded() -> bool:
        return await booking_mesh.payment_statuses(booked.session_id) == ["REFUNDED"]

    await eventually(is_refunded)
    assert len(await booking_mesh.wait_for_mails(2)) == 2
    # A message from the broker passes through the outbox of the receiving service.
    assert (await delivered(booking_mesh, "payment"))["RefundSession"] == 1


async def test_a_directly_sending_service_receives_from_the_broker(
    serve: Serve, urls: dict[str, str], tmp_path: Path, nats: NatsServer
) -> None:
    """A service that sends directly also receives from the broker, so that services can change transport one by one."""
    mesh = await serve(user.SERVICE, gym.SERVICE, payment.SERVICE, session.SERVICE, nats_url=nats.url)
    booking_mesh = BookingMesh(mesh, urls, tmp_path)
    member = await booking_mesh.create_member()
    booked = await booking_mesh.book(book_request(member, await booking_mesh.create_gym()))
    leaving = OnUserLeftRequest(event=UserLeft(user_id=member))
    broker = Broker(nats.url, "user")
    async with broker.running():
        payload = leaving.SerializeToString()
        await broker.publish(OutboxMessage(uuid4(), ON_USER_LEFT, payload, "", member, "correlation", ""))

    async def is_refunded() -> bool:
        cancelled = (await booking_mesh.find_session(booked.session_id)).status == SESSION_STATUS_CANCELLED
        return cancelled and await booking_mesh.balance(member) == 100

    await eventually(is_refunded)
    assert "RefundSession" not in await delivered(booking_mesh, "payment")


@pytest.mark.requirement("A3")
async def test_members_can_book_and_leave_while_the_broker_is_down(booking_mesh: BookingMesh, nats: NatsServer) -> None:
    """No call waits for the broker, and the follow-ups of a deleted user are done once the broker is running again."""
    member, gym_id = await booking_mesh.create_member(), await booking_mesh.create_gym()
    nats.kill()
    first = await booking_mesh.book(book_request(member, gym_id))
    assert first.status == SESSION_STATUS_CONFIRMED
    await booking_mesh.book(book_request(member, gym_id, start=TOMORROW + HOUR))
    left = User(user_id=member, state=UserState.USER_STATE_DELETED)
    await booking_mesh.users.UpdateUser(UpdateUserRequest(user=left, update_mask=FieldMask(paths=["state"])))

    await nats.start()

    async def all_is_refunded() -> bool:
        statuses = {each.status for each in await booking_mesh.sessions_of(member)}
        return statuses == {SESSION_STATUS_CANCELLED} and await booking_mesh.balance(member) == 100

    await eventually(all_is_refunded)
    assert (await delivered(booking_mesh, "session"))["OnUserLeft"] == 1
