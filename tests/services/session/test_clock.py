from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING

from solo60.mesh.v1.outbox_pb2 import GetScheduleRequest, GetScheduleResponse
from solo60.mesh.v1.outbox_pb2_grpc import OutboxServiceStub
from solo60.session.v1.session_pb2 import SESSION_STATUS_REJECTED
from tests.services.session.booking_mesh import TOMORROW, book_request
from tests.support.eventually import eventually

if TYPE_CHECKING:
    from tests.services.session.booking_mesh import BookingMesh


async def schedule_of(booking_mesh: BookingMesh) -> GetScheduleResponse:
    """Return the schedule of the session service after all due work."""
    await booking_mesh.wait_until_settled()
    return await booking_mesh.mesh.stub(OutboxServiceStub, at="session").GetSchedule(GetScheduleRequest())


async def test_an_unapproved_session_is_rejected_when_the_clock_reaches_its_start(booking_mesh: BookingMesh) -> None:
    """The start of a session that waits for approval is in the schedule, and the session is rejected at that time."""
    clock = booking_mesh.mesh.clock
    member, gym = await booking_mesh.create_member(), await booking_mesh.create_gym(requires_approval=True)
    booked = await booking_mesh.book(book_request(member, gym))
    schedule = await schedule_of(booking_mesh)
    assert (schedule.next_due_timer, schedule.next_due_time.ToDatetime(UTC)) == ("unapproved sessions", TOMORROW)

    clock.advance(TOMORROW - clock.now())

    async def is_rejected() -> bool:
        return (await booking_mesh.find_session(booked.session_id)).status == SESSION_STATUS_REJECTED

    await eventually(is_rejected)
    assert (await schedule_of(booking_mesh)).due_timers == []
