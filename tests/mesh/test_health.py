from __future__ import annotations

import asyncio

import pytest
from grpc_health.v1.health_pb2 import HealthCheckResponse

import mesh.health
from contracts.errors import Unavailable
from mesh.health import Health

GYMS = "solo60.gym.v1.GymService"


@pytest.mark.requirement("S5")
async def test_one_failed_check_is_no_reason_to_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy process misses a check now and then; only a second one in a row makes it NOT_SERVING."""
    monkeypatch.setattr(mesh.health, "CHECK_INTERVAL_S", 0)
    health = Health(GYMS)
    answers = iter([False, True, False, False, False, True])
    said: list[str] = []
    all_asked = asyncio.Event()

    async def is_ready() -> bool:
        said.append(status_of(health, GYMS))
        answer = next(answers, None)
        if answer is None:
            all_asked.set()
        return answer is not False

    async with health.following(is_ready):
        await all_asked.wait()

    assert said[:7] == [*["SERVING"] * 4, *["NOT_SERVING"] * 2, "SERVING"]


async def test_liveness_is_not_readiness(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without its database a process is alive and not ready; when it stops it is neither."""
    monkeypatch.setattr(mesh.health, "CHECK_INTERVAL_S", 0)
    health = Health(GYMS)
    unready = asyncio.Event()

    async def is_ready() -> bool:
        if status_of(health, GYMS) == "NOT_SERVING":
            unready.set()
        return False

    async with health.following(is_ready):
        await unready.wait()
        assert status_of(health, "") == "SERVING"

        await health.stop_serving()
        await health.say(serving=True)

        assert (status_of(health, ""), status_of(health, GYMS)) == ("NOT_SERVING", "NOT_SERVING")


async def test_breakers_that_are_not_closed_are_listed() -> None:
    """Whoever asks for the list learns what this process cannot reach."""
    health = Health(GYMS, lambda: {"user": "open", "auth": "half-open", "payment": "closed"})
    await health.say(serving=True)

    listed = {name: HealthCheckResponse.ServingStatus.Name(status) for name, status in health.all_statuses().items()}

    assert listed == {"": "SERVING", GYMS: "SERVING", "breaker/user": "NOT_SERVING", "breaker/auth": "UNKNOWN"}


async def test_given_up_messages_are_listed_by_their_destination() -> None:
    """Part 7: dead letters show in health, and do not make a service unready."""
    health = Health(GYMS, dead_letters=lambda: {"a.B/C": 2})
    await health.say(serving=True)

    listed = {name: HealthCheckResponse.ServingStatus.Name(status) for name, status in health.all_statuses().items()}
    assert listed == {"": "SERVING", GYMS: "SERVING", "dead-letters/a.B/C": "NOT_SERVING"}


async def test_what_keeps_a_service_from_its_work_is_listed_in_words() -> None:
    """The list shows why a service is NOT_SERVING, or its troubles although it is SERVING."""
    health = Health(GYMS, troubles=lambda: ["its database does not answer within 1 s"])

    listed = {name: HealthCheckResponse.ServingStatus.Name(status) for name, status in health.all_statuses().items()}

    assert listed["trouble/its database does not answer within 1 s"] == "NOT_SERVING"


@pytest.mark.requirement("S5")
async def test_a_watch_sees_every_change_and_ends_with_the_process() -> None:
    """Without an end a server that stops would wait for it all of its grace."""
    health = Health(GYMS)
    watch = health.watch(GYMS)
    assert await anext(watch) == HealthCheckResponse.NOT_SERVING
    await health.say(serving=True)
    assert await anext(watch) == HealthCheckResponse.SERVING
    await health.stop_serving()
    assert await anext(watch) == HealthCheckResponse.NOT_SERVING

    health.end_watches()

    with pytest.raises(Unavailable):
        await anext(watch)
    with pytest.raises(Unavailable):
        await anext(health.watch(GYMS))


def status_of(health: Health, name: str) -> str:
    """Return what the process answers to whoever asks how it is."""
    status = health.status_of(name)
    assert status is not None
    return HealthCheckResponse.ServingStatus.Name(status)
