"""Expectations of consumers: their declaration, their files, and the failures of a test."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import pytest

from contracts.errors import SlotTaken, UnknownError
from contracts.testing import ExpectationFiles, Expectations, ScriptError, UnexpectedCalls, expectations_on
from interceptors.chain.channel import ChainedChannel
from mesh.config import Settings
from mesh.serving.channel import client_interceptors
from solo60.example.v1 import echo_pb2 as pb
from solo60.example.v1.echo_pb2_grpc import EchoServiceStub
from solo60.example.v1.events_pb2 import Heard
from tests.contracts.testing.echo_targets import SCOPES

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from solo60.example.v1.echo_pb2_grpc import EchoServiceAsyncStub

MODULE = "tests/test_consumer.py"
HI = pb.EchoRequest(text="hi")
HELLO = pb.EchoResponse(text="hello")


class Consumer:
    """Consumer of the echo service in tests of the kit, whose expectations are in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        # expectations_on requires that the module exists.
        (folder / MODULE).parent.mkdir()
        (folder / MODULE).touch()

    def files(self, module: str = MODULE, *, update: bool = False) -> ExpectationFiles:
        """Return the files of a test module."""
        return ExpectationFiles(self.folder, module, update=update)

    @asynccontextmanager
    async def testing(self, files: ExpectationFiles) -> AsyncIterator[tuple[EchoServiceAsyncStub, Expectations]]:
        """Run a test of the consumer: yield its usual client, and the expectations."""
        settings = Settings(_env_file=None)  # type: ignore[call-arg]  # pydantic-settings' own argument
        async with Expectations("tester", files, SCOPES["tester"]) as expectations:
            interceptors = client_interceptors(settings, lambda: expectations.key)
            async with ChainedChannel(grpc.aio.insecure_channel(expectations.address), interceptors) as channel:
                yield EchoServiceStub(channel), expectations

    async def expect_hello(
        self, files: ExpectationFiles, answer: pb.EchoResponse = HELLO, state: str = "quiet"
    ) -> None:
        """Run a test that expects an answer of Echo."""
        async with self.testing(files) as (echo, expectations):
            expectations.of(EchoServiceStub).given(state).Echo(request=HI, answer=answer)
            await echo.Echo(HI)

    def text(self, method: str = "Echo") -> str:
        """Return the content of a file."""
        return (self.folder / f"tester-example/{method}.txt").read_text(encoding="utf-8")


@pytest.fixture
def consumer(tmp_path: Path) -> Consumer:
    """Return a consumer without recorded expectations."""
    return Consumer(tmp_path)


async def test_the_fake_provider_fills_in_what_the_contract_requires(consumer: Consumer) -> None:
    """The consumer gets a valid answer, but only the fields that its test gives are recorded."""
    files = consumer.files(update=True)
    async with consumer.testing(files) as (echo, expectations):
        expectations.of(EchoServiceStub).given("quiet").Echo(request=HI, answer=pb.EchoResponse(caller="tester"))
        answer = await echo.Echo(HI)

    assert answer.text
    assert answer.caller == "tester"
    assert consumer.text() == (
        "# Expectations of tester on solo60.example.v1.EchoService/Echo.\n"
        "# Recorded by the tests. Do not edit; run pytest with --update-expectations.\n"
        "\n"
        "given: quiet\n"
        f"tested by: {MODULE}\n"
        "kind: calls\n"
        "deadline: 2 s\n"
        "request {\n"
        '  text: "hi"\n'
        "}\n"
        "answer {\n"
        '  caller: "tester"\n'
        "}\n"
    )


async def test_a_later_call_and_an_event_are_recorded_as_such(consumer: Consumer) -> None:
    """A call through an outbox is `calls_later`, and the call of a subscriber is `event`."""
    async with consumer.testing(consumer.files(update=True)) as (echo, expectations):
        later = expectations.later(EchoServiceStub)
        later.given("quiet").Keep(answer=pb.KeepResponse())
        later.given("quiet").OnHeard(answer=pb.OnHeardResponse())
        await echo.Keep(pb.KeepRequest(text="hi"))
        await echo.OnHeard(pb.OnHeardRequest(event=Heard(text="hi", place="here")))
        await expectations.all_called()

    assert "kind: calls_later\n" in consumer.text("Keep")
    assert "kind: event\n" in consumer.text("OnHeard")


async def test_streams_and_errors_are_recorded_in_order(consumer: Consumer) -> None:
    """A transcript has each request, each answer and the error at the end."""
    async with consumer.testing(consumer.files(update=True)) as (echo, expectations):
        provider = expectations.of(EchoServiceStub)
        texts = [pb.EchoManyResponse(text=text) for text in ("a", "b")]
        provider.given("an old list").EchoMany(answers=texts, error=grpc.StatusCode.NOT_FOUND)
        provider.given("a taken slot").Echo(error=SlotTaken())
        answers = aiter(echo.EchoMany(pb.EchoManyRequest(text="a", repeat=3)))
        assert [(await anext(answers)).text, (await anext(answers)).text] == ["a", "b"]
        with pytest.raises(UnknownError):
            await anext(answers)
        with pytest.raises(SlotTaken):
            await echo.Echo(HI)

    transcript = consumer.text("EchoMany").partition("request")[2].split("\n")
    values = [line.strip() for line in transcript if ":" in line]
    assert values == ["text: <any>", "repeat: <any>", 'text: "a"', 'text: "b"', "error: status NOT_FOUND"]
    assert "\nerror: SLOT_TAKEN\n" in consumer.text()


async def test_a_recorded_expectation_is_read_again(consumer: Consumer) -> None:
    """The provider reads exactly what the consumer has recorded."""
    await consumer.expect_hello(consumer.files(update=True))

    [expectation] = expectations_on(EchoServiceStub, consumer.folder)

    assert str(expectation) == "tester, given quiet: solo60.example.v1.EchoService/Echo"
    assert expectation.text() in consumer.text().replace(f"tested by: {MODULE}\n", "")


async def test_an_expectation_that_differs_from_its_file_fails_the_test(consumer: Consumer) -> None:
    """The failure shows the difference and the command that updates the file; the file is left as it is."""
    await consumer.expect_hello(consumer.files(update=True))
    before = consumer.text()

    with pytest.raises(AssertionError) as caught:
        await consumer.expect_hello(consumer.files(), pb.EchoResponse(text="goodbye"))

    assert f"pytest {MODULE} --update-expectations" in str(caught.value)
    assert '-  text: "hello"\n+  text: "goodbye"' in str(caught.value)
    assert consumer.text() == before


async def test_an_unchanged_expectation_passes(consumer: Consumer) -> None:
    """A second run compares and changes nothing."""
    await consumer.expect_hello(consumer.files(update=True))
    files = consumer.files()

    await consumer.expect_hello(files)
    files.finish()


async def test_an_expectation_that_no_test_records_any_more_fails_the_module(consumer: Consumer) -> None:
    """Its file is reported at the end of the module, and removed by an update."""
    await consumer.expect_hello(consumer.files(update=True), state="loud")
    await consumer.expect_hello(consumer.files(update=True))
    files, updating = consumer.files(), consumer.files(update=True)

    await consumer.expect_hello(files)
    with pytest.raises(AssertionError, match=r"no longer expects .*given loud"):
        files.finish()
    await consumer.expect_hello(updating)
    updating.finish()

    assert "loud" not in consumer.text()
    consumer.files(update=True).finish()
    assert not list(consumer.folder.glob("tester-*"))


async def test_two_modules_may_record_the_same_expectation(consumer: Consumer) -> None:
    """It stays as long as one of them records it."""
    other = "tests/test_other.py"
    for module in (MODULE, other):
        await consumer.expect_hello(consumer.files(module, update=True))

    consumer.files(update=True).finish()

    assert f"tested by: {other}\n" in consumer.text()
    assert MODULE not in consumer.text()


async def test_an_expectation_of_a_deleted_module_is_rejected(consumer: Consumer) -> None:
    """A provider does not replay an expectation that no test records."""
    await consumer.expect_hello(consumer.files(update=True))
    (consumer.folder / MODULE).unlink()

    with pytest.raises(ValueError, match=f"{MODULE} has recorded this file, but does not exist"):
        expectations_on(EchoServiceStub, consumer.folder)


async def test_two_different_expectations_in_one_state_fail_the_test(consumer: Consumer) -> None:
    """A state answers a method in one way, also in two tests."""
    files = consumer.files(update=True)
    await consumer.expect_hello(files)

    with pytest.raises(AssertionError, match="name their states"):
        await consumer.expect_hello(files, pb.EchoResponse(text="goodbye"))
    async with consumer.testing(files) as (echo, expectations):
        quiet = expectations.of(EchoServiceStub).given("quiet")
        quiet.Echo(request=HI, answer=HELLO)
        with pytest.raises(ScriptError, match="has two answers given quiet"):
            quiet.Echo(request=pb.EchoRequest(text="ho"), answer=HELLO)
        await echo.Echo(HI)


async def run_uncalled(consumer: Consumer, wait_s: float | None) -> None:
    """Run a test that declares an expectation and makes no call; wait for the call unless `wait_s` is None."""
    async with consumer.testing(consumer.files(update=True)) as (_, expectations):
        expectations.of(EchoServiceStub).given("quiet").Echo(request=HI, answer=HELLO)
        if wait_s is not None:
            await expectations.all_called(wait_s)


@pytest.mark.parametrize("wait_s", [None, 0.01])
async def test_an_expectation_without_a_call_fails_the_test(consumer: Consumer, wait_s: float | None) -> None:
    """The failure names method and state, and nothing is recorded."""
    expected = "tester has not called solo60.example.v1.EchoService/Echo, given quiet."

    with pytest.raises(UnexpectedCalls, match=expected):
        await run_uncalled(consumer, wait_s)
    assert not list(consumer.folder.glob("*/*.txt"))


async def run_within(consumer: Consumer, within_s: float, **options: Any) -> None:
    """Run a test that expects an answer within a time."""
    async with consumer.testing(consumer.files(update=True)) as (echo, expectations):
        expectations.of(EchoServiceStub).given("quiet").Echo(request=HI, answer=HELLO, within_s=within_s)
        await echo.Echo(HI, **options)


async def test_the_consumers_own_deadline_is_recorded(consumer: Consumer) -> None:
    """A shorter deadline than the contract's must be that of the call."""
    await run_within(consumer, 1.5, timeout=1.5)

    assert "deadline: 1.5 s\n" in consumer.text()
    with pytest.raises(AssertionError, match=r"tester would wait .* s for .*Echo, but expects an answer within 1\.5 s"):
        await run_within(consumer, 1.5)
    with pytest.raises(ScriptError, match="must be above 0 and at most the contract's 2 s"):
        await run_within(consumer, 3)
