from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2
from grpc_health.v1.health_pb2_grpc import HealthStub
from grpc_interceptor import AsyncServerInterceptor
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.reflection_pb2_grpc import ServerReflectionStub
from pydantic import SecretStr

import mesh.serving.health
import mesh.serving.watched_file
from interceptors.chain.chained_server import ChainedServer
from interceptors.chain.metadata import CORRELATION_ID
from interceptors.errors.status import error_of_call
from interceptors.keys.keyring import mint_key, record_of_key
from local.postgres.server import EmbeddedPostgres
from mesh.config import Settings, SettingsError
from mesh.data.migrations import migrate
from mesh.serving.keyring_file import format_keyring
from mesh.serving.process import serving
from mesh.serving.server import GRPC_SERVICES, OUTBOX_SERVICE
from mesh.serving.service import Service
from solo60.example.v1 import echo_pb2
from solo60.example.v1.echo_pb2_grpc import EchoServiceStub, add_EchoServiceServicer_to_server
from tests.support.echo import SCOPES, EchoServicer
from tests.support.echo_server import Endless
from tests.support.serving import DEADLINE_FACTOR, NO_SHEDDING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from mesh.serving.server import MeshServer
    from mesh.serving.service import Runtime

HI = echo_pb2.EchoRequest(text="hi")
CHECK = health_pb2.HealthCheckRequest(service="solo60.example.v1.EchoService")
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
KEY = mint_key("test")
METADATA = (("x-api-key", KEY),)
# Without this option, channels to one address share their connection.
OWN_CONNECTION = (("grpc.use_local_subchannel_pool", 1),)


def echo_service(servicer: EchoServicer, *interceptors: AsyncServerInterceptor) -> Service:
    """Make a service from the echo servicer."""

    @asynccontextmanager
    async def open_echo(_runtime: Runtime) -> AsyncIterator[EchoServicer]:
        yield servicer

    descriptor = echo_pb2.DESCRIPTOR.services_by_name["EchoService"]
    return Service("echo", descriptor, add_EchoServiceServicer_to_server, open_echo, Path(), interceptors)


@pytest.fixture
def settings(tmp_path: Path, mesh_database_url: str) -> Settings:
    """Make settings with a database and a keyring that holds one key."""
    keyring = tmp_path / "keyring.json"
    keyring.write_text(format_keyring([record_of_key(KEY, "tester", [*SCOPES, "mesh.inspect"])]))
    return Settings(
        _env_file=None,  # type: ignore[call-arg]  # pydantic-settings' own argument
        keyring_file=keyring,
        service_api_key=SecretStr(KEY),
        database_url=SecretStr(mesh_database_url),
        drain_wait_s=0,
        drain_grace_s=5,
        deadline_factor=DEADLINE_FACTOR,
        **NO_SHEDDING,  # type: ignore[arg-type]  # any settings
    )


@pytest.fixture
def servicer() -> EchoServicer:
    """Make the servicer of the test's server."""
    return EchoServicer()  # type: ignore[abstract]  # Promise is not implemented


@asynccontextmanager
async def connected(server: MeshServer) -> AsyncIterator[grpc.aio.Channel]:
    """Open a channel that adds no metadata."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        yield channel


def health_of(channel: grpc.aio.Channel) -> Any:
    """Return a stub of grpc.health.v1."""
    return HealthStub(channel)


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


async def test_health_is_checked_by_name_and_listed(settings: Settings, servicer: EchoServicer) -> None:
    """Health needs no key. An unknown name is NOT_FOUND when checked and SERVICE_UNKNOWN when watched."""
    stranger = health_pb2.HealthCheckRequest(service="solo60.example.v1.NoService")
    async with serving(echo_service(servicer), settings, "127.0.0.1:0") as server, connected(server) as channel:
        health = health_of(channel)
        listed = await health.List(health_pb2.HealthListRequest())  # type: ignore[attr-defined]  # not in its types yet
        refusal = await _refusal(health.Check(stranger))
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
        refusals = [await _refusal(health_of(channel).Check(CHECK)) for _ in range(3)]
        watching.cancel()
        answer = await _echo(channel)

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
        refusal = await _refusal(health_of(channel).Watch(CHECK).read())
        assert refusal is not None
        assert error_of_call(refusal, "").reason_name() == "RATE_LIMITED"

        watches[0].cancel()
        async with asyncio.timeout(30):
            while await _refusal(health_of(channel).Watch(CHECK).read()) is not None:
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
        assert (await _echo(channel)).text == "hi"


@pytest.mark.requirement("S2", "S5")
async def test_a_stop_is_announced_before_the_port_closes(settings: Settings, servicer: EchoServicer) -> None:
    """A stopping service reports NOT_SERVING first and serves calls during the drain wait. Then it closes its port."""
    patient = settings.model_copy(update={"drain_wait_s": 2.0})
    async with AsyncExitStack() as stack:
        stopping = AsyncExitStack()
        server = await stopping.enter_async_context(serving(echo_service(servicer), patient, "127.0.0.1:0"))
        channel = await stack.enter_async_context(connected(server))
        watching = health_of(channel).Watch(CHECK)
        assert (await watching.read()).status == SERVING

        stop = asyncio.create_task(stopping.aclose())

        assert (await watching.read()).status == NOT_SERVING
        assert (await EchoServiceStub(channel).Echo(HI, metadata=METADATA)).text == "hi"
        assert (await health_of(channel).Check(CHECK)).status == NOT_SERVING
        watching.cancel()
        await stop
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", server.port)


@pytest.mark.requirement("S2")
async def test_a_running_call_is_finished_before_the_server_ends(settings: Settings, servicer: EchoServicer) -> None:
    """A stopping server finishes running calls, although its port is already closed."""
    hook = servicer.hook = Endless()  # type: ignore[method-assign]  # replaces the hook
    stopping = AsyncExitStack()
    server = await stopping.enter_async_context(serving(echo_service(servicer), settings, "127.0.0.1:0"))
    async with connected(server) as channel:
        call = asyncio.ensure_future(_echo(channel))
        await hook.entered.wait()
        stop = asyncio.create_task(stopping.aclose())
        await _until_refused(server.port)

        hook.is_open.set()

        assert (await call).text == "hi"
        await stop


@pytest.mark.parametrize("engine", ["grpcio", "native"])
async def test_the_last_answers_are_written_before_the_server_ends(
    settings: Settings, servicer: EchoServicer, engine: str
) -> None:
    """The answers of calls that all end during a stop are written before the server ends."""
    hook = servicer.hook = Endless()  # type: ignore[method-assign]  # replaces the hook
    stopping = AsyncExitStack()
    own = settings.model_copy(update={"engine": engine})
    server = await stopping.enter_async_context(serving(echo_service(servicer), own, "127.0.0.1:0"))
    async with connected(server) as channel:
        calls = [asyncio.ensure_future(_echo(channel)) for _ in range(20)]
        while servicer.entered < len(calls):  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.005)
        stop = asyncio.create_task(stopping.aclose())
        await _until_refused(server.port)

        hook.is_open.set()

        assert [answer.text for answer in await asyncio.gather(*calls)] == ["hi"] * len(calls)
        await stop


@pytest.mark.requirement("S2")
async def test_a_call_that_outlasts_the_grace_is_cancelled(settings: Settings, servicer: EchoServicer) -> None:
    """A call that outlasts the drain grace is cancelled, so that the stop ends."""
    hook = servicer.hook = Endless()  # type: ignore[method-assign]  # replaces the hook
    quick = settings.model_copy(update={"drain_grace_s": 0.1})
    stopping = AsyncExitStack()
    server = await stopping.enter_async_context(serving(echo_service(servicer), quick, "127.0.0.1:0"))
    async with connected(server) as channel:
        call = asyncio.ensure_future(_echo(channel))
        await hook.entered.wait()

        await stopping.aclose()

        await hook.cancelled.wait()
        with pytest.raises(grpc.aio.AioRpcError):
            await call


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
            assert (await _echo(channel)).text == "hi"

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
async def test_keys_are_reloaded_while_a_server_runs(
    settings: Settings, servicer: EchoServicer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server reloads a changed keyring file and ignores an invalid one."""
    monkeypatch.setattr(mesh.serving.watched_file, "RELOAD_INTERVAL_S", 0.0)
    async with serving(echo_service(servicer), settings, "127.0.0.1:0") as server, connected(server) as channel:
        settings.keyring_path.write_text("broken")
        assert (await _echo(channel)).text == "hi"

        settings.keyring_path.write_text(format_keyring([]))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await _echo(channel)
        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED

        settings.keyring_path.write_text(format_keyring([record_of_key(KEY, "tester again", SCOPES)]))
        assert (await _echo(channel)).caller == "tester again"


class Counting(AsyncServerInterceptor):
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
    counting = Counting()
    service = echo_service(servicer, counting)

    async with serving(service, settings, "127.0.0.1:0") as server, connected(server) as channel:
        await _echo(channel)

    assert counting.count == 1


async def _echo(channel: grpc.aio.Channel) -> echo_pb2.EchoResponse:
    return await EchoServiceStub(channel).Echo(HI, metadata=METADATA)


async def _until_refused(port: int) -> None:
    # The native engine keeps its port until the end and rejects new calls.
    refusal = None
    while refusal is None:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", OWN_CONNECTION) as channel:
            refusal = await _refusal(health_of(channel).Check(CHECK))
    # A connection that was accepted just before the end is cut.
    assert refusal.code() in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}


async def _refusal(call: Awaitable[object]) -> grpc.aio.AioRpcError | None:
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return error
    return None
