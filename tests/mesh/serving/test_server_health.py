from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2
from pydantic import SecretStr

import mesh.serving.health
import mesh.serving.watched_file
from contracts.metadata import CORRELATION_ID
from contracts.status import error_of_call
from local.postgres.server import EmbeddedPostgres
from mesh.data.migrations import migrate
from mesh.serving.process import serving
from mesh.serving.server import GRPC_SERVICES, OUTBOX_SERVICE
from tests.mesh.serving.served_echo import (
    CHECK,
    NOT_SERVING,
    SERVING,
    connected,
    echo_hi,
    echo_service,
    health_of,
    refusal_of,
)

if TYPE_CHECKING:
    from mesh.config import Settings
    from tests.support.echo import EchoServicer


async def test_health_is_checked_by_name_and_listed(settings: Settings, servicer: EchoServicer) -> None:
    """Health needs no key. An unknown name is NOT_FOUND when checked and SERVICE_UNKNOWN when watched."""
    stranger = health_pb2.HealthCheckRequest(service="solo60.example.v1.NoService")
    async with serving(echo_service(servicer), settings, "127.0.0.1:0") as server, connected(server) as channel:
        health = health_of(channel)
        listed = await health.List(health_pb2.HealthListRequest())  # type: ignore[attr-defined]  # not in its types yet
        refusal = await refusal_of(health.Check(stranger))
        watching = health.Watch(stranger)
        unknown = (await watching.read()).status
        watching.cancel()

    assert {name: answer.status for name, answer in listed.statuses.items()} == dict.fromkeys(
        ["", CHECK.service, OUTBOX_SERVICE, *GRPC_SERVICES], SERVING
    )
    assert refusal is not None
    assert refusal.code() is grpc.StatusCode.NOT_FOUND
    assert CORRELATION_ID in refusal.trailing_metadata()
    assert unknown == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN


async def test_health_checks_of_one_host_are_limited(
    settings: Settings, servicer: EchoServicer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Health checks of one host are limited, because they need no key and are never shed."""
    monkeypatch.setattr(mesh.serving.health, "PROBES_PER_SECOND", 0.001)
    monkeypatch.setattr(mesh.serving.health, "PROBES_BURST", 3)
    async with serving(echo_service(servicer), settings, "127.0.0.1:0") as server, connected(server) as channel:
        watching = health_of(channel).Watch(CHECK)
        assert (await watching.read()).status == SERVING
        refusals = [await refusal_of(health_of(channel).Check(CHECK)) for _ in range(3)]
        watching.cancel()
        answer = await echo_hi(channel)

    assert [refusal and error_of_call(refusal, "").reason_name() for refusal in refusals] == [
        None,
        None,
        "RATE_LIMITED",
    ]
    assert answer.text == "hi"


async def test_watches_of_one_host_are_limited(
    settings: Settings, servicer: EchoServicer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Health watches of one host are limited, because they need no key. A watch that ends makes room for another."""
    monkeypatch.setattr(mesh.serving.health, "MAX_WATCHES", 2)
    async with serving(echo_service(servicer), settings, "127.0.0.1:0") as server, connected(server) as channel:
        watches = [health_of(channel).Watch(CHECK) for _ in range(2)]
        assert [(await watch.read()).status for watch in watches] == [SERVING, SERVING]
        refusal = await refusal_of(health_of(channel).Watch(CHECK).read())
        assert refusal is not None
        assert error_of_call(refusal, "").reason_name() == "RATE_LIMITED"

        watches[0].cancel()
        async with asyncio.timeout(30):
            while await refusal_of(health_of(channel).Watch(CHECK).read()) is not None:
                pass


@pytest.mark.requirement("S5")
async def test_health_follows_the_database(
    settings: Settings, servicer: EchoServicer, reachable_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service that loses its database is live but NOT_SERVING, and SERVING again when the database is back."""
    monkeypatch.setattr(mesh.serving.health, "CHECK_INTERVAL_S", 0.01)
    postgres = EmbeddedPostgres(reachable_folder / "data", durable=False)
    await postgres.start()
    await migrate(postgres.url, Path())
    own = settings.model_copy(update={"database_url": SecretStr(postgres.url)})
    port = urlsplit(postgres.url).port or 0
    async with serving(echo_service(servicer), own, "127.0.0.1:0") as server, connected(server) as channel:
        watching = health_of(channel).Watch(CHECK)
        assert (await watching.read()).status == SERVING

        await postgres.stop()

        assert (await watching.read()).status == NOT_SERVING
        assert (await health_of(channel).Check(health_pb2.HealthCheckRequest())).status == SERVING
        async with EmbeddedPostgres(reachable_folder / "data", port=port, durable=False):
            assert (await watching.read()).status == SERVING
            watching.cancel()
