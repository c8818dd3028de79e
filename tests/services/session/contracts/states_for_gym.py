"""States of the session service in which the gym service has expectations."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

from solo60.gym.v1.events_pb2 import WaitingListModeChanged
from solo60.gym.v1.gym_pb2 import WAITING_LIST_MODE_OFFER_ONE
from solo60.session.v1.session_pb2 import OnWaitingListModeChangedRequest
from solo60.session.v1.session_pb2_grpc import SessionServiceStub

if TYPE_CHECKING:
    from tests.support.consumers import States
    from tests.support.serving import MeshForTests


async def a_gym_that_notifies_all_waiting_members(_mesh: MeshForTests) -> dict[str, object]:
    """Return the id of a gym whose mode has never changed."""
    return {"gym_id": str(uuid4())}


async def a_gym_that_offers_slots_to_one_member(mesh: MeshForTests) -> dict[str, object]:
    """Change the mode of a gym, and return the id."""
    gym_id = str(uuid4())
    event = WaitingListModeChanged(gym_id=gym_id, waiting_list_mode=WAITING_LIST_MODE_OFFER_ONE)
    sessions = mesh.stub(SessionServiceStub)
    await sessions.OnWaitingListModeChanged(OnWaitingListModeChangedRequest(event=event))
    return {"gym_id": gym_id}


STATES: States = {
    "a gym that notifies all waiting members": a_gym_that_notifies_all_waiting_members,
    "a gym that offers slots to one member": a_gym_that_offers_slots_to_one_member,
}
