from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from cli.gyms import GYMS
from cli.seeding import GymChain
from contracts.errors import ScopeMissing
from local.keys import OPERATOR
from mesh.serving.channel import Channels
from services.gym import app as gym
from services.subscription import app as subscription
from services.user import app as user
from solo60.gym.v1.gym_pb2_grpc import GymServiceStub
from tests.services.gym.gym_requests import add_gym

if TYPE_CHECKING:
    from tests.support.serving import Serve


async def test_an_existing_gym_is_used_again(serve: Serve) -> None:
    """A gym that exists under the same name in other letters is used, and the other gyms are created."""
    mesh = await serve(gym.SERVICE, subscription.SERVICE)
    existing = await add_gym(mesh.stub(GymServiceStub), GYMS[0].name.upper())
    channels = Channels(mesh.settings, lambda: mesh.keys[OPERATOR])
    chain = GymChain(channels, 1, datetime.now(UTC))

    await chain.open_gyms()
    await channels.close()

    assert chain.counts == {"gyms": len(GYMS) - 1}
    assert chain._gym_ids[0] == existing.gym_id
    assert len(set(chain._gym_ids)) == len(GYMS)


async def test_a_rejected_call_ends_the_seeding_with_its_error(serve: Serve) -> None:
    """If a call is rejected, the error itself is raised, which the command prints in one line."""
    mesh = await serve(user.SERVICE)
    channels = Channels(mesh.settings, lambda: mesh.keys["gym"])

    with pytest.raises(ScopeMissing):
        await GymChain(channels, 1, datetime.now(UTC)).add_members(1, lambda: None)

    await channels.close()
