from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest

from contracts.errors import ServiceError
from mesh.serving.channel import Channels
from solo60.gym.v1.gym_pb2_grpc import GymServiceStub
from tests.mesh.serving.test_channel import GET, FailingGymServicer, GymServer, settings_for

if TYPE_CHECKING:
    from solo60.gym.v1.gym_pb2_grpc import GymServiceAsyncStub

pytestmark = pytest.mark.soak

CALLS_PER_S = 50
BEFORE_S = 5.0
OUTAGE_S = 10.0
RECOVERY_S = 5.0
AFTER_S = 5.0


class Load:
    """Load at a fixed rate, independent of answers, with a count of successful calls."""

    def __init__(self, stub: GymServiceAsyncStub) -> None:
        self._stub = stub
        self._calls: set[asyncio.Task[None]] = set()
        self.good = 0

    async def run(self, calls_per_s: float, for_s: float) -> float:
        """Make calls for `for_s` seconds and return the successful calls per second."""
        began, good_before, sent = time.monotonic(), self.good, 0
        while (passed_s := time.monotonic() - began) < for_s:
            while sent < passed_s * calls_per_s:
                sent += 1
                task = asyncio.create_task(self._call())
                self._calls.add(task)
                task.add_done_callback(self._calls.discard)
            await asyncio.sleep(0.005)
        return (self.good - good_before) / passed_s

    async def _call(self) -> None:
        try:
            await self._stub.GetGym(GET)
        except ServiceError:
            return
        self.good += 1


async def test_calls_succeed_again_soon_after_an_outage() -> None:
    """Five seconds after a ten-second outage at twice the load, calls succeed as before and all breakers are closed."""
    gyms = FailingGymServicer()  # type: ignore[abstract]  # two methods are enough
    server = GymServer(gyms)
    port = await server.start()
    channels = Channels(settings_for(port), lambda: "sk_of_this_test")
    load = Load(channels.stub(GymServiceStub))
    before = await load.run(CALLS_PER_S, BEFORE_S)
    await server.stop()
    await load.run(2 * CALLS_PER_S, OUTAGE_S)
    assert set(channels.breakers.states().values()) != {"closed"}

    again = GymServer(gyms)
    await again.start(port)
    await load.run(2 * CALLS_PER_S, RECOVERY_S)
    after = await load.run(CALLS_PER_S, AFTER_S)

    await channels.close()
    await again.stop()
    assert before >= 0.9 * CALLS_PER_S
    assert after >= 0.95 * before
    assert set(channels.breakers.states().values()) == {"closed"}
