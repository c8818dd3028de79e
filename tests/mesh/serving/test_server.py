from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2
from grpc_interceptor import AsyncServerInterceptor
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.reflection_pb2_grpc import ServerReflectionStub
from pydantic import SecretStr

import mesh.serving.health
import mesh.serving.watched_file
from interceptors.chain.chained_server import ChainedServer
from interceptors.keys.keyring import record_of_key
from mesh.clock import MovableClock, write_offset
from mesh.config import Settings, SettingsError
from mesh.serving.keyring_file import format_keyring
from mesh.serving.process import serving
from solo60.example.v1.echo_pb2_grpc import EchoServiceStub
from solo60.mesh.v1.outbox_pb2 import GetScheduleRequest
from solo60.mesh.v1.outbox_pb2_grpc import OutboxServiceStub
from tests.mesh.serving.served_echo import (
    CHECK,
    HI,
    KEY,
    METADATA,
    SERVING,
    connected,
    echo_hi,
    echo_service,
    health_of,
)
from tests.support.echo import SCOPES, EchoServicer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.mark.requirement("S5")
async def test_a_service_is_served_with_health_and_reflection(settings: Settings, servicer: EchoServicer) -> None:
    """A service is served with its outbox, overall health, named health and reflection."""
    async with serving(echo_service(servicer), settings, "127.0.0.1:0") as server, connected(server) as channel:
        answer = await EchoServiceStub(channel).Echo(HI, metadata=METADATA)
        overall = await health_of(channel).Check(health_pb2.HealthCheckRequest())
        own = await health_of(channel).Check(CHECK)
        bare: Any = channel
        reflection: Any = ServerReflectionStub(bare)
        request = reflection_pb2.ServerReflectionRequest(list_services="")
        [listed] = [each async for each in reflection.ServerReflectionInfo(iter([request]), metadata=METADATA)]

    assert (answer.text, overall.status, own.status) == ("hi", SERVING, SERVING)
    assert sorted(each.name for each in listed.list_services_response.service) == [
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
        "solo60.example.v1.EchoService",
        "solo60.mesh.v1.OutboxService",
    ]


@pytest.mark.requirement("L1")
@pytest.mark.parametrize(("engine", "package"), [("grpcio", "grpc"), ("native", "pygrpc_native")])
async def test_a_setting_selects_the_engine(
    settings: Settings, servicer: EchoServicer, engine: str, package: str
) -> None:
    """ENGINE selects the library that serves the calls."""
    own = settings.model_copy(update={"engine": engine})
    async with serving(echo_service(servicer), own, "127.0.0.1:0") as server, connected(server) as channel:
        assert isinstance(server._server, ChainedServer)
        assert type(server._server._server).__module__.partition(".")[0] == package
        assert (await echo_hi(channel)).text == "hi"


async def test_a_port_in_use_is_rejected_in_one_sentence(settings: Settings, servicer: EchoServicer) -> None:
    """A port in use is rejected in one sentence.

    Otherwise gRPC would share the port, and each of two services would get half of the other's calls.
    """
    service = echo_service(servicer)
    async with serving(service, settings, "127.0.0.1:0") as server:
        address = f"127.0.0.1:{server.port}"

        with pytest.raises(SettingsError) as caught:
            await serving(service, settings, address).__aenter__()

        async with connected(server) as channel:
            assert (await echo_hi(channel)).text == "hi"

    assert str(caught.value) == f"ECHO_SERVICE_URL: {address} is in use or is not an address of this machine."


async def test_a_service_without_its_database_does_not_start(settings: Settings, servicer: EchoServicer) -> None:
    """A service without a reachable database does not start.

    The error names DATABASE_URL and does not contain the password.
    """
    # A slash ends the part before the host, so that the password is parsed as a port.
    urls = ("postgres://user:hunter2@127.0.0.1:1/none", "postgres://user:hunter2/@127.0.0.1:1/none")
    for url in (None, *map(SecretStr, urls)):
        with pytest.raises(SettingsError, match=r"^DATABASE_URL: ") as caught:
            await serving(
                echo_service(servicer), settings.model_copy(update={"database_url": url}), "127.0.0.1:0"
            ).__aenter__()
        assert "hunter2" not in str(caught.value)


@pytest.mark.requirement("S2")
async def test_keys_expire_by_the_clock(settings: Settings, servicer: EchoServicer) -> None:
    """A key is rejected as soon as the clock of its server has passed its end."""
    clock, lifetime = MovableClock(timedelta(days=31)), timedelta(hours=1)
    record = replace(record_of_key(KEY, "tester", SCOPES), not_after=clock.now() + lifetime)
    settings.keyring_path.write_text(format_keyring([record]))
    async with serving(echo_service(servicer), settings, "127.0.0.1:0", clock) as server, connected(server) as channel:
        assert (await echo_hi(channel)).text == "hi"

        clock.advance(lifetime)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await echo_hi(channel)
        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_a_server_has_the_clock_of_its_settings(
    settings: Settings, servicer: EchoServicer, tmp_path: Path
) -> None:
    """A server takes its time from CLOCK_FILE, and does not start with an invalid file."""
    own = settings.model_copy(update={"clock_file": tmp_path / "clock"})
    with pytest.raises(SettingsError, match=r"^CLOCK_FILE: "):
        await serving(echo_service(servicer), own, "127.0.0.1:0").__aenter__()
    write_offset(tmp_path / "clock", timedelta(days=31))

    async with serving(echo_service(servicer), own, "127.0.0.1:0") as server, connected(server) as channel:
        schedule = await OutboxServiceStub(channel).GetSchedule(GetScheduleRequest(), metadata=METADATA)

    assert timedelta(days=31) - (schedule.now.ToDatetime(UTC) - datetime.now(UTC)) < timedelta(minutes=1)


@pytest.mark.requirement("S2")
async def test_keys_are_reloaded_while_a_server_runs(
    settings: Settings, servicer: EchoServicer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server reloads a changed keyring file and ignores an invalid one."""
    monkeypatch.setattr(mesh.serving.watched_file, "RELOAD_INTERVAL_S", 0.0)
    async with serving(echo_service(servicer), settings, "127.0.0.1:0") as server, connected(server) as channel:
        settings.keyring_path.write_text("broken")
        assert (await echo_hi(channel)).text == "hi"

        settings.keyring_path.write_text(format_keyring([]))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await echo_hi(channel)
        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED

        settings.keyring_path.write_text(format_keyring([record_of_key(KEY, "tester again", SCOPES)]))
        assert (await echo_hi(channel)).key_owner == "tester again"


class CountingInterceptor(AsyncServerInterceptor):
    """Interceptor that counts calls."""

    def __init__(self) -> None:
        self.count = 0

    async def intercept(
        self,
        method: Callable[..., Any],
        request_or_iterator: object,
        context: object,
        method_name: str,
    ) -> Any:
        """Count the call and pass it on."""
        self.count += 1
        return await method(request_or_iterator, context)


async def test_a_service_may_add_its_own_interceptors(settings: Settings, servicer: EchoServicer) -> None:
    """A service may add unmodified interceptors that were written for the grpc-interceptor package."""
    counting = CountingInterceptor()
    service = echo_service(servicer, counting)

    async with serving(service, settings, "127.0.0.1:0") as server, connected(server) as channel:
        await echo_hi(channel)

    assert counting.count == 1
