"""Expectations in time: a change that breaks clients or servers of the previous release names the consumer."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import grpc.aio
import pytest

from buf.validate import validate_pb2
from contracts.method import find_method
from contracts.testing import (
    BrokenExpectation,
    Expectation,
    NewExpectation,
    verify_previous_client,
    verify_previous_server,
)
from contracts.testing.expectation import parse_expectation
from tests.contracts.testing.earlier_echo import field_in, method_in, policy_in, release, with_text, without
from tests.support.echo import SCOPES
from tests.support.echo_server import echo, serve_echo

if TYPE_CHECKING:
    from google.protobuf.descriptor_pb2 import FileDescriptorProto

    from contracts.testing import PreviousRelease
    from tests.support.echo_server import EchoServer

__all__ = ["echo", "serve_echo"]

REQUEST = 'request {\n text: "hi"\n}'
ANSWER = 'answer {\n text: "hi"\n}'
ECHO = "solo60.example.v1.EchoService/Echo"
KEEP = "solo60.example.v1.EchoService/Keep"
# Start of a failure of an old client, and of a failure with an old server.
OLD_CLIENT, OLD_SERVER = f"reader of v1, given quiet: {ECHO}: ", f"reader, given quiet: {ECHO} of v1: "
REJECTED = "it failed with INVALID_REQUEST, not an answer: The request violates the contract: "


def expectation(*rest: str, method: str = ECHO, kind: str = "calls") -> Expectation:
    """Return an expectation of "reader" as in a file."""
    text = "\n".join(("given: quiet", f"kind: {kind}", "deadline: 2 s", *rest))
    return parse_expectation(text.splitlines(), "reader", method)


async def quiet(_world: object) -> dict[str, object]:
    """Prepare nothing, and return values."""
    start = datetime(2030, 1, 1, 10, tzinfo=UTC)
    return {"word": "hi", "start": start, "end": start + timedelta(hours=1)}


async def as_old_client(echo: EchoServer, expected: Expectation, previous: PreviousRelease) -> str:
    """Return the problem of a client of the previous release with today's server; empty if it works."""
    async with grpc.aio.insecure_channel(echo.address) as channel:
        try:
            await verify_previous_client(
                expected, previous, channel, echo.key, {"quiet": quiet}, None, deadline_factor=10.0
            )
        except BrokenExpectation as broken:
            return str(broken)
    return ""


async def with_old_server(expected: Expectation, previous: PreviousRelease) -> str:
    """Return the problem of today's client with a server of the previous release; empty if it works."""
    try:
        await verify_previous_server(expected, previous, SCOPES)
    except BrokenExpectation as broken:
        return str(broken)
    return ""


def loosen_addresses(file: FileDescriptorProto) -> None:
    """Accept any text as a mail address."""
    field_in(file, "EchoRequest", "email").options.ClearExtension(validate_pb2.field)


def shorten_texts(file: FileDescriptorProto) -> None:
    """Accept texts of one character only."""
    field_in(file, "EchoRequest", "text").options.Extensions[validate_pb2.field].string.max_len = 1


def drop_errors(file: FileDescriptorProto) -> None:
    """Declare no error of Echo."""
    policy_in(file, "Echo").ClearField("errors")


def drop_echo(file: FileDescriptorProto) -> None:
    """Remove Echo."""
    file.service[0].method.remove(method_in(file, "Echo"))


def drop_key(file: FileDescriptorProto) -> None:
    """Require no idempotency key of Keep."""
    policy_in(file, "Keep").ClearField("idempotency")


def rename_scope(file: FileDescriptorProto) -> None:
    """Require another scope for Echo, and give it more time."""
    policy_in(file, "Echo").scopes[:] = ["example.shout"]
    policy_in(file, "Echo").deadline.seconds = 7


def renumber_text(file: FileDescriptorProto) -> None:
    """Send the text of an answer under another number."""
    field_in(file, "EchoResponse", "text").number = 9


EXPECTED = [
    expectation(REQUEST, ANSWER),
    expectation('request {\n text: "hi"\n email: <personal>\n}', "answer {\n deadline: <any>\n key_owner: <any>\n}"),
    expectation("request {\n text: <word>\n}", "answer {\n text: <word>\n}"),
    expectation('request {\n text: "hi"\n period {\n  start_time: <start>\n  end_time: <end>\n }\n}', ANSWER),
    expectation('request {\n text: "hi"\n repeat: 3\n}', *[ANSWER] * 2, method=f"{ECHO}Many"),
    expectation(
        'request {\n text: "a"\n}', 'request {\n text: "b"\n}', 'answer {\n text: "a b"\n}', method=f"{ECHO}Joined"
    ),
    expectation(REQUEST, ANSWER, method=f"{ECHO}Each"),
    expectation(REQUEST, "answer {\n idempotency_key: <any>\n}", method=KEEP, kind="calls_later"),
    expectation(
        "request {\n event {\n  place: <any>\n  text: <any>\n }\n}",
        "answer {\n}",
        method=f"{KEEP[:-4]}OnHeard",
        kind="event",
    ),
]


@pytest.mark.parametrize("expected", EXPECTED, ids=range(len(EXPECTED)))
async def test_an_unchanged_contract_breaks_nobody(echo: EchoServer, expected: Expectation) -> None:
    """Clients and servers of both releases work together, in all shapes and kinds of calls."""
    assert await as_old_client(echo, expected, release()) == ""
    assert await with_old_server(expected, release()) == ""


async def test_a_field_removed_since_breaks_its_reader(echo: EchoServer) -> None:
    """An old client misses the field in today's answers, and today's client does not know it in old ones."""
    expected = expectation(REQUEST, 'answer {\n text: "hi"\n accent: <any>\n}')
    previous = release(with_text("EchoResponse", "accent", 6))

    assert await as_old_client(echo, expected, previous) == f"{OLD_CLIENT}accent is not set."
    assert await with_old_server(expected, previous) == (
        f"{OLD_SERVER}solo60.example.v1.EchoResponse has no field accent."
    )


async def test_a_rule_tightened_since_rejects_old_clients(echo: EchoServer) -> None:
    """A value that only the old rules allow is sent where the value does not matter."""
    expected = expectation('request {\n text: "hi"\n email: <personal>\n}', ANSWER)

    problem = await as_old_client(echo, expected, release(loosen_addresses))

    assert problem.startswith(f"{OLD_CLIENT}{REJECTED}email.")
    assert await with_old_server(expected, release(loosen_addresses)) == ""


async def test_a_rule_loosened_since_makes_old_servers_reject(echo: EchoServer) -> None:
    """The old server checks today's request by its own rules."""
    expected = expectation(REQUEST, ANSWER)

    problem = await with_old_server(expected, release(shorten_texts))

    assert problem.startswith(f"{OLD_SERVER}{REJECTED}text.")
    assert await as_old_client(echo, expected, release(shorten_texts)) == ""


async def test_an_error_added_since_breaks_both_directions(echo: EchoServer) -> None:
    """An old client cannot handle the error, and an old server never sends it, unless an allowed change says so."""
    expected = expectation(REQUEST, "error: SLOT_TAKEN")
    problem = f"reader, given quiet: {ECHO}: v1 does not declare SLOT_TAKEN, "

    assert (await as_old_client(echo, expected, release(drop_errors))).startswith(problem)
    assert (await with_old_server(expected, release(drop_errors))).startswith(problem)
    assert await with_old_server(expected, release()) == ""

    allowed = release(drop_errors, allowed=[f"ERROR_ADDED {ECHO}"])
    with pytest.raises(NewExpectation, match="v1 does not declare SLOT_TAKEN"):
        await as_old_client(echo, expected, allowed)


async def test_a_field_with_another_number_cannot_be_read(echo: EchoServer) -> None:
    """Both clients look for the text where the other release does not send it."""
    expected = expectation(REQUEST, ANSWER)

    assert await as_old_client(echo, expected, release(renumber_text)) == f"{OLD_CLIENT}text is not set."
    assert await with_old_server(expected, release(renumber_text)) == f"{OLD_SERVER}text is not set."


async def test_an_answer_that_cannot_be_parsed_is_reported(echo: EchoServer) -> None:
    """A text where the other release expects a message is no answer."""

    def nest(file: FileDescriptorProto) -> None:
        field = field_in(file, "EchoResponse", "text")
        field.ClearField("options")
        field.type, field.type_name = field.TYPE_MESSAGE, ".solo60.common.v1.Period"

    # These three bytes are a malformed message.
    expected = expectation('request {\n text: "hi!"\n}', "answer {\n text: <any>\n}")

    assert await as_old_client(echo, expected, release(nest)) == (
        f"{OLD_CLIENT}the answer cannot be parsed as solo60.example.v1.EchoResponse."
    )


async def test_an_optional_field_added_since_breaks_nobody(echo: EchoServer) -> None:
    """An old client omits a request field whose value does not matter, and an old server ignores it."""
    expected = expectation('request {\n text: "hi"\n email: <personal>\n}', ANSWER)
    previous = release(without("EchoRequest", "email"))

    assert await as_old_client(echo, expected, previous) == ""
    assert await with_old_server(expected, previous) == ""


def only_declare(file: FileDescriptorProto) -> None:
    """Declare Echo without a service that implements it."""
    policy_in(file, "Echo").contract_only = True


async def test_a_method_that_was_only_declared_is_new(echo: EchoServer) -> None:
    """No server of the previous release can answer, and none of its clients call the method."""
    with pytest.raises(NewExpectation, match="v1 does not implement the method"):
        await as_old_client(echo, expectation(REQUEST, ANSWER), release(only_declare))


async def test_an_answer_that_the_old_rules_forbid_is_reported() -> None:
    """A server of the previous release cannot send what today's consumer reads."""

    def shorten(file: FileDescriptorProto) -> None:
        field_in(file, "EchoResponse", "text").options.Extensions[validate_pb2.field].string.max_len = 1

    assert await with_old_server(expectation(REQUEST, ANSWER), release(shorten)) == (
        f"{OLD_SERVER}{ECHO}: the answer breaks the rules of the contract: text must be at most 1 characters."
    )


NEW = [
    (drop_echo, expectation(REQUEST, ANSWER), "the method"),
    (
        without("EchoRequest", "email"),
        expectation('request {\n text: "hi"\n email: "ada@solo60.example"\n}', ANSWER),
        "EchoRequest.email",
    ),
    (
        without("EchoResponse", "key_owner"),
        expectation(REQUEST, 'answer {\n text: "hi"\n key_owner: <word>\n}'),
        "EchoResponse.key_owner",
    ),
]


@pytest.mark.parametrize(("edit", "expected", "name"), NEW, ids=[name for *_, name in NEW])
async def test_a_new_expectation_is_skipped_with_a_reason(
    echo: EchoServer, edit: object, expected: Expectation, name: str
) -> None:
    """The reason names the consumer and what the previous release does not have."""
    reason = f"reader, given quiet: {ECHO} is new: v1 does not have {name}."
    previous = release(edit)  # type: ignore[arg-type]  # of a table

    with pytest.raises(NewExpectation) as old_client:
        await as_old_client(echo, expected, previous)
    with pytest.raises(NewExpectation) as old_server:
        await with_old_server(expected, previous)

    assert [str(old_client.value), str(old_server.value)] == [reason, reason]


async def test_the_known_part_of_a_new_expectation_is_replayed(echo: EchoServer) -> None:
    """A new field does not hide that another one is broken."""
    expected = expectation(REQUEST, 'answer {\n text: "ho"\n key_owner: <any>\n}')
    previous = release(without("EchoResponse", "key_owner"))

    assert await as_old_client(echo, expected, previous) == f'{OLD_CLIENT}text is "hi", not "ho".'


async def test_an_old_client_sends_what_its_own_contract_requires(echo: EchoServer) -> None:
    """It sends no idempotency key if the old contract requires none."""
    expected = expectation(REQUEST, "answer {\n idempotency_key: <any>\n}", method=KEEP)

    problem = await as_old_client(echo, expected, release(drop_key))

    assert "it failed with IDEMPOTENCY_KEY_MISSING, not an answer" in problem
    assert await with_old_server(expected, release(drop_key)) == ""


async def test_an_old_server_enforces_its_own_policy() -> None:
    """Policies are those that the old contract declares, and today's do not change."""
    previous = release(rename_scope)

    policies = [previous.method(f"/{ECHO}").policy, find_method(f"/{ECHO}").policy]

    assert [(each.deadline_s, *each.scopes) for each in policies] == [(7.0, "example.shout"), (2.0, "example.echo")]
    problem = await with_old_server(expectation(REQUEST, ANSWER), previous)
    assert problem == (
        f"{OLD_SERVER}it failed with SCOPE_MISSING, not an answer: The key of reader lacks example.shout."
    )
