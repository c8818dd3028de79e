from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import grpc
import grpc.aio
import h2.config
import h2.connection
import h2.events
import pytest

import interceptors.deadline.interceptor
from interceptors.deadline.interceptor import ServerDeadline
from interceptors.propagation import ServerContext
from solo60.example.v1 import echo_pb2
from solo60.example.v1.echo_pb2_grpc import EchoServiceStub, add_EchoServiceServicer_to_server
from tests.support.echo import EchoServicer
from tests.support.echo_server import Endless

if TYPE_CHECKING:
    from structlog.typing import EventDict

    from tests.support.echo_server import EchoServer, ServeEcho

HI = echo_pb2.EchoRequest(text="hi")
ECHO = "/solo60.example.v1.EchoService/Echo"
TRIES = 20


class SilentPeer:
    """HTTP/2 client that sends one call and then nothing, neither at its deadline nor later."""

    def __init__(self, echo: EchoServer) -> None:
        self._echo = echo
        self._connection = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))

    async def call(self, grpc_timeout: str) -> dict[str, str]:
        """Call with a `grpc-timeout`, unless it is empty, and return the headers of the answer's end."""
        host, _, port = self._echo.address.partition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        self._connection.initiate_connection()
        headers = {
            ":method": "POST",
            ":scheme": "http",
            ":path": ECHO,
            ":authority": self._echo.address,
            "content-type": "application/grpc",
            "te": "trailers",
            "x-api-key": self._echo.key,
        }
        self._connection.send_headers(
            1, [*headers.items(), *([("grpc-timeout", grpc_timeout)] if grpc_timeout else [])]
        )
        body = HI.SerializeToString()
        self._connection.send_data(1, b"\0" + len(body).to_bytes(4) + body, end_stream=True)
        try:
            return await self._until_end(reader, writer)
        finally:
            writer.close()
            await writer.wait_closed()

    async def _until_end(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> dict[str, str]:
        ending: dict[str, str] = {}
        while True:
            writer.write(self._connection.data_to_send())
            for event in self._connection.receive_data(await reader.read(65_536)):
                if isinstance(event, h2.events.ResponseReceived | h2.events.TrailersReceived):
                    ending.update((str(name), str(value)) for name, value in event.headers)
                if isinstance(event, h2.events.StreamEnded | h2.events.StreamReset | h2.events.ConnectionTerminated):
                    return ending


@pytest.fixture
def timers(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Record the seconds of every timer that the server starts."""
    begun: list[float] = []
    begin = interceptors.deadline.interceptor._begin_timeout

    def noting(budget_s: float) -> asyncio.Timeout:
        begun.append(budget_s)
        return begin(budget_s)

    monkeypatch.setattr(interceptors.deadline.interceptor, "_begin_timeout", noting)
    return begun


@pytest.mark.parametrize("engine", ["grpcio", "native"])
async def test_a_handler_ends_at_the_deadline_of_a_silent_caller(
    serve_echo: ServeEcho, logs: list[EventDict], timers: list[float], engine: str
) -> None:
    """The core of gRPC cancels a handler at its caller's deadline, without a reset by the caller or our own timer."""
    echo = await serve_echo(engine=engine)
    hook = echo.servicer.hook = Endless()

    # Retry because a slow machine may start the call late. A late call is rejected, or native misses its expiry.
    codes: list[str] = []
    for _ in range(TRIES):
        ending = await SilentPeer(echo).call("200m")
        codes = [line["code"] for line in logs if line["event"] == "call"]
        if hook.cancelled.is_set() and "DEADLINE_EXCEEDED" in codes:
            break
    await echo.shut_down()

    assert ending["grpc-status"] == str(grpc.StatusCode.DEADLINE_EXCEEDED.value[0])
    assert timers == []
    assert hook.cancelled.is_set()
    assert "DEADLINE_EXCEEDED" in codes
    ledgers = [line["ledger"] for line in logs if "ledger" in line]
    assert all(ledger.startswith("solo60.example.v1.EchoService/Echo ") for ledger in ledgers)


@pytest.mark.parametrize("engine", ["grpcio", "native"])
async def test_a_call_without_a_deadline_gets_the_contracts_and_is_logged(
    serve_echo: ServeEcho, logs: list[EventDict], timers: list[float], engine: str
) -> None:
    """A call without a deadline ends by the server's own timer, and its log line is marked."""
    echo = await serve_echo(engine=engine, deadline_factor=0.1)
    hook = echo.servicer.hook = Endless()

    ending = await SilentPeer(echo).call("")
    await hook.cancelled.wait()

    assert unquote(ending["grpc-message"]) == "solo60.example.v1.EchoService/Echo did not finish in 0.2 s."
    assert timers == [0.2]
    [line] = [line for line in logs if line["event"] == "call"]
    assert line["without_deadline"] is True


async def test_a_call_with_the_contracts_deadline_needs_no_timer(serve_echo: ServeEcho, timers: list[float]) -> None:
    """A call with the contract's deadline starts no timer at the server, and a call with a longer deadline does.

    gRPC's core rounds 123.4 s up to 124 s, which must not count as longer.
    """
    echo = await serve_echo(deadline_factor=61.7)

    await echo.stub().Echo(HI)
    assert timers == []

    await EchoServiceStub(echo.bare_channel()).Echo(HI, timeout=600, metadata=(("x-api-key", echo.key),))
    assert timers == [123.4]


def test_an_expired_call_enters_no_handler() -> None:
    """A server that was blocked for 300 ms starts none of the calls with a deadline of 250 ms."""
    asyncio.run(_stall())


async def _stall() -> None:
    servicer = EchoServicer()
    server = grpc.aio.server(interceptors=[ServerContext(), ServerDeadline()])
    add_EchoServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:  # its threads send while the event loop is blocked
        echo: Any = channel.unary_unary(ECHO, echo_pb2.EchoRequest.SerializeToString, echo_pb2.EchoResponse.FromString)
        await asyncio.to_thread(echo, HI)
        burst = [echo.future(HI, timeout=0.25) for _ in range(50)]
        time.sleep(0.3)  # noqa: ASYNC251 - block the event loop

        codes = [await asyncio.to_thread(each.code) for each in burst]
        await asyncio.to_thread(echo, HI)

    await server.stop(None)
    assert set(codes) == {grpc.StatusCode.DEADLINE_EXCEEDED}
    assert servicer.entered == 2
