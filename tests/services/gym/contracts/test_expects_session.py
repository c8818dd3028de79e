from __future__ import annotations

from typing import TYPE_CHECKING

from google.protobuf.field_mask_pb2 import FieldMask

from services.gym.app import SERVICE
from solo60.gym.v1.events_pb2 import WaitingListModeChanged
from solo60.gym.v1.gym_pb2 import WAITING_LIST_MODE_NOTIFY_ALL, WAITING_LIST_MODE_OFFER_ONE, Gym, UpdateGymRequest
from solo60.gym.v1.gym_pb2_grpc import GymServiceStub
from solo60.session.v1.session_pb2 import OnWaitingListModeChangedRequest, OnWaitingListModeChangedResponse
from solo60.session.v1.session_pb2_grpc import SessionServiceStub
from tests.services.gym.gym_requests import add_gym
from tests.support.settled_messages import DELIVERED, settled

if TYPE_CHECKING:
    from tests.support.consumers import Consume


async def test_each_change_of_the_waiting_list_mode_reaches_the_session_service(consume: Consume) -> None:
    """UpdateGym publishes the new mode to the session service."""
    mesh, expectations = await consume(SERVICE)
    gyms = mesh.stub(GymServiceStub)
    gym = await add_gym(gyms)
    changes = {
        "a gym that notifies all waiting members": WAITING_LIST_MODE_OFFER_ONE,
        "a gym that offers slots to one member": WAITING_LIST_MODE_NOTIFY_ALL,
    }
    for state, mode in changes.items():
        event = WaitingListModeChanged(gym_id=gym.gym_id, waiting_list_mode=mode)
        expectations.later(SessionServiceStub).given(state, gym_id=gym.gym_id).OnWaitingListModeChanged(
            request=OnWaitingListModeChangedRequest(event=event), answer=OnWaitingListModeChangedResponse()
        )

    for mode in changes.values():
        changed = Gym(gym_id=gym.gym_id, etag=gym.etag, waiting_list_mode=mode)
        mask = FieldMask(paths=["waiting_list_mode"])
        gym = (await gyms.UpdateGym(UpdateGymRequest(gym=changed, update_mask=mask))).gym

    assert await settled(mesh, "gym", "OnWaitingListModeChanged") == [DELIVERED] * 2
