from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

import mesh.health
from mesh.health import Health

if TYPE_CHECKING:
    import pytest

GYMS = "solo60.gym.v1.GymService"
UNUSED: Any = None


async def test_one_failed_check_is_no_reason_to_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    """S5: a busy process misses a check now and then; only a second one in a row makes it NOT_SERVING."""
    monkeypatch.setattr(mesh.health, "CHECK_INTERVAL_S", 0)
    health = Health(GYMS)
    answers = iter([False, True, False, False, False, True])
    said: list[str] = []
    all_asked = asyncio.Event()

    async def is_ready() -> bool:
        said.append(await status_of(health))
        answer = next(answers, None)
        if answer is None:
            all_asked.set()
        return answer is not False

    async with health.following(is_ready):
        await all_asked.wait()

    assert said[:7] == [*["SERVING"] * 4, *["NOT_SERVING"] * 2, "SERVING"]


async def status_of(health: Health) -> str:
    """Return what the process answers to whoever asks how it is."""
    response = await health.servicer.Check(HealthCheckRequest(), UNUSED)
    return HealthCheckResponse.ServingStatus.Name(response.status)
