from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import pytest

from contracts.method import find_method
from contracts.policy import Criticality
from interceptors.chain.call import Call
from interceptors.chain.client import ClientCall
from interceptors.context import current_context, detached_work
from interceptors.criticality import CRITICALITY, ClientCriticality, criticality_of
from solo60.example.v1.echo_pb2 import EchoCriticalRequest, EchoRequest, EchoSheddableRequest

if TYPE_CHECKING:
    from tests.support.echo_server import EchoServer, ServeEcho

ECHO = "/solo60.example.v1.EchoService/"
SHEDDABLE, NORMAL, CRITICAL = Criticality.SHEDDABLE, Criticality.NORMAL, Criticality.CRITICAL


@pytest.mark.parametrize(
    ("name", "claimed", "level"),
    [
        ("Echo", None, NORMAL),
        ("Echo", "critical", CRITICAL),
        ("Echo", "sheddable", NORMAL),
        ("Echo", "CRITICAL", NORMAL),
        ("Echo", "", NORMAL),
        ("EchoSheddable", None, SHEDDABLE),
        ("EchoSheddable", "normal", NORMAL),
        ("EchoCritical", "normal", CRITICAL),
    ],
)
def test_metadata_may_only_raise_the_criticality(name: str, claimed: str | None, level: Criticality) -> None:
    """Metadata raises the criticality of a call and never lowers it, and unknown levels are ignored."""
    metadata = {} if claimed is None else {CRITICALITY: claimed}
    call = Call(find_method(f"{ECHO}{name}"), cast("Any", None), metadata, b"")

    assert criticality_of(call) is level


@pytest.mark.parametrize(
    ("serving", "name", "sent"),
    [
        (CRITICAL, "Echo", ["critical"]),
        (CRITICAL, "EchoCritical", []),
        (NORMAL, "Echo", []),
        (NORMAL, "EchoSheddable", ["normal"]),
        (SHEDDABLE, "EchoSheddable", []),
    ],
)
def test_criticality_is_sent_only_above_the_callees_contract(serving: Criticality, name: str, sent: list[str]) -> None:
    """A client sends its criticality only if it is higher than that of the callee's contract."""
    with detached_work() as context:
        context.criticality = serving
        call = ClientCall(find_method(f"{ECHO}{name}"), [], None)
    ClientCriticality().start(call)

    assert call.metadata == [(CRITICALITY, level) for level in sent]


async def test_a_call_inherits_the_criticality_of_the_call_it_serves(serve_echo: ServeEcho) -> None:
    """The calls made for a critical call are critical over two hops, even through a sheddable method."""
    servers = [await serve_echo() for _ in range(3)]
    seen: list[Criticality] = []
    stubs = [server.stub() for server in servers]

    def note() -> None:
        context = current_context()
        assert context is not None
        seen.append(context.criticality)

    async def to_second() -> None:
        note()
        await stubs[1].EchoSheddable(EchoSheddableRequest(text="hi"))

    async def to_third() -> None:
        note()
        await stubs[2].Echo(EchoRequest(text="hi"))

    async def at_last() -> None:
        note()

    for server, hook in zip(servers, (to_second, to_third, at_last), strict=True):
        server.servicer.hook = hook
    await stubs[0].EchoCritical(EchoCriticalRequest(text="hi"))

    assert seen == [CRITICAL] * 3


async def test_a_first_call_has_the_criticality_of_its_contract(echo: EchoServer) -> None:
    """A call that is not made for another call has the criticality of its contract."""
    seen: list[Criticality] = []

    async def hook() -> None:
        context = current_context()
        assert context is not None
        seen.append(context.criticality)

    echo.servicer.hook = hook
    await echo.stub().EchoSheddable(EchoSheddableRequest(text="hi"))

    assert seen == [SHEDDABLE]
