from __future__ import annotations

import asyncio

import pytest
from grpc_health.v1.health_pb2 import HealthCheckResponse

import mesh.serving.health
from contracts.errors import Unavailable
from mesh.serving.health import Health

GYMS = "solo60.gym.v1.GymService"


@pytest.mark.requirement("S5")
async def test_a_single_failed_check_is_tolerated(monkeypatch: pytest.MonkeyPatch) -> None:
    """A service becomes NOT_SERVING only after two failed readiness checks in a row."""
    monkeypatch.setattr(mesh.serving.health, "CHECK_INTERVAL_S", 0)
    health = Health(GYMS)
    answers = iter([False, True, False, False, False, True])
    statuses: list[str] = []
    all_asked = asyncio.Event()

    async def is_ready() -> bool:
        statuses.append(status_of(health, GYMS))
        answer = next(answers, None)
        if answer is None:
            all_asked.set()
        return answer is not False

    async with health.polling(is_ready):
        await all_asked.wait()

    assert statuses[:7] == [*["SERVING"] * 4, *["NOT_SERVING"] * 2, "SERVING"]


async def test_liveness_is_not_readiness(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without its database, a process is live but not ready. A stopping process is neither."""
    monkeypatch.setattr(mesh.serving.health, "CHECK_INTERVAL_S", 0)
    health = Health(GYMS)
    unready = asyncio.Event()

    async def is_ready() -> bool:
        if status_of(health, GYMS) == "NOT_SERVING":
            unready.set()
        return False

    async with health.polling(is_ready):
        await unready.wait()
        assert status_of(health, "") == "SERVING"

        await health.stop_serving()
        await health.set_ready(ready=True)

        assert (status_of(health, ""), status_of(health, GYMS)) == ("NOT_SERVING", "NOT_SERVING")


async def test_breakers_that_are_not_closed_are_listed() -> None:
    """Health lists open breakers as NOT_SERVING and half-open breakers as UNKNOWN, and omits closed ones."""
    health = Health(GYMS, lambda: {"user": "open", "auth": "half-open", "payment": "closed"})
    await health.set_ready(ready=True)

    listed = {name: HealthCheckResponse.ServingStatus.Name(status) for name, status in health.all_statuses().items()}

    assert listed == {"": "SERVING", GYMS: "SERVING", "breaker/user": "NOT_SERVING", "breaker/auth": "UNKNOWN"}


async def test_dead_letters_are_listed_by_destination() -> None:
    """Health lists dead letters by destination without making the service NOT_SERVING."""
    health = Health(GYMS, dead_letters=lambda: {"a.B/C": 2})
    await health.set_ready(ready=True)

    listed = {name: HealthCheckResponse.ServingStatus.Name(status) for name, status in health.all_statuses().items()}
    assert listed == {"": "SERVING", GYMS: "SERVING", "dead-letters/a.B/C": "NOT_SERVING"}


async def test_troubles_are_listed_in_words() -> None:
    """Health lists each trouble of the service in words."""
    health = Health(GYMS, troubles=lambda: ["its database does not answer within 1 s"])

    listed = {name: HealthCheckResponse.ServingStatus.Name(status) for name, status in health.all_statuses().items()}

    assert listed["trouble/its database does not answer within 1 s"] == "NOT_SERVING"


@pytest.mark.requirement("S5")
async def test_a_watch_reports_every_change_and_ends_with_the_process() -> None:
    """A health watch reports every change and ends when the process stops.

    Otherwise a stopping server would wait for the watch until its grace is over.
    """
    health = Health(GYMS)
    watch = health.watch(GYMS)
    assert await anext(watch) == HealthCheckResponse.NOT_SERVING
    await health.set_ready(ready=True)
    assert await anext(watch) == HealthCheckResponse.SERVING
    await health.stop_serving()
    assert await anext(watch) == HealthCheckResponse.NOT_SERVING

    health.end_watches()

    with pytest.raises(Unavailable):
        await anext(watch)
    with pytest.raises(Unavailable):
        await anext(health.watch(GYMS))


def status_of(health: Health, name: str) -> str:
    """Return the health status that the process reports for `name`."""
    status = health.status_of(name)
    assert status is not None
    return HealthCheckResponse.ServingStatus.Name(status)
