"""Fake servers: scripts are checked against the contract, faults are scripted, and unexpected calls fail the test."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import pytest

from contracts.errors import GymNotFound, Internal, Overloaded, SlotTaken, Unavailable
from contracts.metadata import API_KEY
from contracts.testing import FakeServer, ScriptError, UnexpectedCalls
from solo60.example.v1 import echo_pb2 as pb
from solo60.example.v1.echo_pb2 import DESCRIPTOR
from solo60.example.v1.echo_pb2_grpc import EchoServiceStub
from tests.contracts.testing.echo_targets import Target, fake_of
from tests.support.call_shapes import HI

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

MANY = pb.EchoManyRequest(text="hi", repeat=3)
TEXTS = [pb.EchoManyResponse(text=text) for text in ("a", "b", "c")]


@pytest.fixture
async def fake() -> AsyncIterator[tuple[FakeServer, Target]]:
    """Start a fake server, and return it with the clients of its callers."""
    target = Target()
    async with fake_of(target) as server:
        target.address = server.address
        yield server, target
        await target.close()


Fake = tuple[FakeServer, Target]

WRONG_SCRIPTS: list[tuple[str, dict[str, Any], str]] = [
    ("Missing", {"answer": pb.EchoResponse(text="hi")}, "has no method Missing"),
    ("Promise", {"answer": pb.PromiseResponse()}, "no service implements this method"),
    ("Echo", {"answer": pb.EchoResponse()}, "breaks the rules of the contract: text "),
    ("Echo", {"answer": pb.KeepResponse()}, "answers with EchoResponse, not KeepResponse"),
    ("Echo", {"request": pb.KeepRequest(), "error": SlotTaken()}, "takes EchoRequest, not KeepRequest"),
    ("Echo", {"error": GymNotFound()}, "GYM_NOT_FOUND is not listed in `errors`"),
    ("Echo", {"error": grpc.StatusCode.OK}, "OK is not an error"),
    ("Echo", {"answers": [pb.EchoResponse(text="hi")] * 2}, "give one `answer` or an `error`"),
    ("Echo", {"answer": pb.EchoResponse(text="hi"), "error": SlotTaken()}, "give one `answer` or an `error`"),
    ("Echo", {}, "give one `answer` or an `error`"),
    ("Echo", {"answer": pb.EchoResponse(text="hi"), "cut_after": 0}, "only a stream can be cut"),
    ("Echo", {"request": [HI, HI], "error": SlotTaken()}, "give one `request`"),
    ("EchoMany", {"answers": TEXTS, "cut_after": 4}, "must be within the answers"),
    ("EchoMany", {"answers": TEXTS, "duplicate": 3}, "must be within the answers"),
]


@pytest.mark.parametrize(("method", "script", "problem"), WRONG_SCRIPTS)
def test_a_script_that_the_contract_forbids_is_rejected_at_once(
    method: str, script: dict[str, Any], problem: str
) -> None:
    """A wrong script raises one sentence before any call."""
    with pytest.raises(ScriptError, match=problem):
        getattr(FakeServer().of(EchoServiceStub), method)(**script)


async def test_platform_errors_need_no_declaration(fake: Fake) -> None:
    """Any method may answer with an error of the mesh, with its retry delay."""
    server, target = fake
    server.of(DESCRIPTOR.services_by_name["EchoService"]).Echo(error=Overloaded(retry_after_s=2.5))

    with pytest.raises(Overloaded) as caught:
        await (await target.stub()).Echo(HI)

    assert caught.value.retry_after_s == 2.5


async def test_a_script_may_be_used_a_number_of_times(fake: Fake) -> None:
    """After its last time, the next script answers."""
    server, target = fake
    echo, stub = server.of(EchoServiceStub), await target.stub()
    echo.EchoCritical(error=Unavailable(), times=1)
    echo.EchoCritical(answer=pb.EchoCriticalResponse(text="hi"))

    with pytest.raises(Unavailable):
        await stub.EchoCritical(pb.EchoCriticalRequest(text="hi"))
    assert (await stub.EchoCritical(pb.EchoCriticalRequest(text="hi"))).text == "hi"


async def test_a_cut_stream_ends_as_a_lost_connection(fake: Fake) -> None:
    """A cut stream delivers its first messages, and then fails without a reason of the contract."""
    server, target = fake
    server.of(EchoServiceStub).EchoMany(answers=TEXTS, cut_after=2)
    answers = aiter((await target.stub()).EchoMany(MANY))

    assert [(await anext(answers)).text, (await anext(answers)).text] == ["a", "b"]
    with pytest.raises(Unavailable):
        await anext(answers)


async def test_a_message_of_a_stream_may_come_twice(fake: Fake) -> None:
    """A duplicate follows its original."""
    server, target = fake
    server.of(EchoServiceStub).EchoMany(answers=TEXTS, duplicate=1)

    assert [each.text async for each in (await target.stub()).EchoMany(MANY)] == ["a", "b", "b", "c"]


async def run_with(call: Callable[[Target], Awaitable[object]], *expected: type[Exception]) -> None:
    """Run a test of a consumer that makes one call, and goes on after an expected error."""
    target = Target()
    async with fake_of(target) as server:
        target.address = server.address
        server.of(EchoServiceStub).Echo(request=pb.EchoRequest(text="scripted"), error=SlotTaken())
        try:
            with suppress(*expected):
                await call(target)
        finally:
            await target.close()


async def call_unscripted(target: Target) -> object:
    """Make a call with personal data that no script answers."""
    return await (await target.stub()).Echo(pb.EchoRequest(text="hi", email="ada@solo60.example"))


async def call_without_deadline(target: Target) -> object:
    """Make a call as no client of the contract does."""
    return await (await target.bare_stub()).Echo(HI, metadata=((API_KEY, target.keys["tester"]),))


async def test_an_unscripted_call_fails_the_test() -> None:
    """The failure names the method, the request with personal data masked, and the requests of the scripts."""
    with pytest.raises(UnexpectedCalls) as caught:
        await run_with(call_unscripted, Internal)

    assert str(caught.value) == (
        "tester called solo60.example.v1.EchoService/Echo with {'text': 'hi', 'email': '***'}, "
        "but no script answers this call: the scripts of this method answer {'text': 'scripted'}."
    )


async def test_an_unscripted_call_is_noted_on_another_failure() -> None:
    """If the test fails anyway, its error has the unexpected calls as a note."""
    with pytest.raises(Internal) as caught:
        await run_with(call_unscripted)

    assert "no script answers this call" in caught.value.__notes__[0]


async def test_a_call_without_a_deadline_fails_the_test() -> None:
    """A client that sends no deadline is not one of the contract's clients."""
    with pytest.raises(UnexpectedCalls, match=r"tester called .*EchoService/Echo without a deadline"):
        await run_with(call_without_deadline, grpc.aio.AioRpcError)
