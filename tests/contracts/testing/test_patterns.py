"""Patterns: every message of the contracts can be written and replayed, without personal data."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from google.protobuf.struct_pb2 import Struct

from contracts.example_messages import example_of
from contracts.testing import SENT, ScriptError
from contracts.testing.pattern import lines_of, parse_pattern
from contracts.testing.recording import Recording, as_item
from contracts.testing.replay import differences, message_of
from solo60.example.v1 import echo_pb2 as pb
from tests.contracts.test_redaction import TYPES

if TYPE_CHECKING:
    from google.protobuf.message import Message

ALL_VALUES = Recording({})
START = datetime(2030, 1, 1, 10, tzinfo=UTC)


@pytest.mark.parametrize("kind", TYPES, ids=lambda kind: kind.DESCRIPTOR.full_name)
def test_every_message_of_the_contracts_is_replayed_as_recorded(kind: type[Message]) -> None:
    """A message with all fields becomes text and the same message again, and does not differ from its pattern."""
    message = example_of(kind)

    lines = list(lines_of(ALL_VALUES.answer(message)))
    pattern = parse_pattern(lines)

    assert list(lines_of(pattern)) == lines
    assert message_of(pattern, kind, {}) == message
    assert list(differences(pattern, message, {})) == []


def test_any_text_in_any_structure_is_replayed_as_recorded() -> None:
    """Maps, lists, line breaks, quotes, marks and zero values survive."""
    message = Struct()
    message.update(
        {"none": None, "zero": 0, "a list": ["\n", '"', "<any>", "}", "é", "", False], 'a "key"': {"x": 0.1}}
    )

    pattern = parse_pattern(list(lines_of(ALL_VALUES.answer(message))))

    assert message_of(pattern, Struct, {}) == message
    assert list(differences(pattern, message, {})) == []


def pattern_lines(message: Message, expected: Message | None = None, **placeholders: object) -> list[str]:
    """Return the lines of a recorded request."""
    recording = Recording({name: as_item(value) for name, value in placeholders.items()})
    return list(lines_of(recording.request(message, expected)))


def echo_request(text: str = "hi", email: str = "") -> pb.EchoRequest:
    """Return a request with a period that starts at START."""
    request = pb.EchoRequest(text=text, email=email)
    request.period.start_time.FromDatetime(START)
    request.period.end_time.FromDatetime(START.replace(hour=11))
    return request


def test_only_expected_fields_of_a_request_are_written() -> None:
    """Other fields that the consumer sends are marks, whatever their value is."""
    assert pattern_lines(echo_request(), pb.EchoRequest(text="hi")) == ['text: "hi"', "period: <any>"]
    assert pattern_lines(echo_request()) == ["text: <any>", "period: <any>"]


def test_a_sent_placeholder_is_the_field_of_its_name() -> None:
    """A value that only the consumer knows is written by name, also if it is personal."""
    request = echo_request("x-17", "ada@solo60.example")

    assert pattern_lines(request, text=SENT, email=SENT) == ["text: <text>", "email: <email>", "period: <any>"]


def test_placeholders_are_written_by_name_at_any_depth() -> None:
    """A value that the state determines is written as its name, also in a field that the test does not mention."""
    assert pattern_lines(echo_request("x-17"), pb.EchoRequest(text="x-17"), id="x-17", start=START) == [
        "text: <id>",
        "period {",
        "  start_time: <start>",
        "  end_time: <any>",
        "}",
    ]


def test_personal_data_is_never_written() -> None:
    """A field with personal data is a mark, and is replayed with a valid example of the contract."""
    request = echo_request(email="grace@navy.example")

    lines = pattern_lines(request, request)
    replayed = message_of(parse_pattern(lines), pb.EchoRequest, {})

    assert "email: <personal>" in lines
    assert "grace" not in "".join(lines)
    assert isinstance(replayed, pb.EchoRequest)
    assert replayed.email == "ada@solo60.example"


def test_a_placeholder_may_stand_for_personal_data() -> None:
    """A state that determines an address replays it."""
    request = echo_request(email="grace@navy.example")

    pattern = parse_pattern(pattern_lines(request, request, email="grace@navy.example"))
    replayed = message_of(pattern, pb.EchoRequest, {"email": "ada@solo60.example"})

    assert ("email", "<email>") in pattern
    assert isinstance(replayed, pb.EchoRequest)
    assert replayed.email == "ada@solo60.example"


WRONG_PATHS = [
    ({"caller"}, set(), "caller must be set in the answer."),
    (set(), {"text"}, "text must not be set in the answer."),
    ({"caler"}, set(), "caler: solo60.example.v1.EchoResponse has no field caler."),
    (set(), {"deadline.nanos"}, "deadline.nanos: deadline is no message that is set in the answer."),
]


@pytest.mark.parametrize(("any_value", "unset", "problem"), WRONG_PATHS)
def test_the_paths_of_an_answer_must_fit_it(any_value: set[str], unset: set[str], problem: str) -> None:
    """A field with any value must be set in the answer of the test, and a field without value must not be."""
    recording = Recording({}, frozenset(any_value), frozenset(unset))

    with pytest.raises(ScriptError) as caught:
        recording.answer(pb.EchoResponse(text="hi"))

    assert str(caught.value) == problem


def test_the_paths_of_an_answer_do_not_apply_to_requests() -> None:
    """A request may have a field of the same name, or none."""
    recording = Recording({}, any_value=frozenset({"text"}), unset=frozenset({"caller"}))
    request = pb.EchoRequest(text="hi")

    assert list(lines_of(recording.request(request, request))) == ['text: "hi"']


def test_unset_fields_are_written_where_they_belong() -> None:
    """A field that must be empty is a mark, at any depth."""
    recording = Recording({}, unset=frozenset({"email", "period.end_time"}))
    request = echo_request()
    request.period.ClearField("end_time")

    assert list(lines_of(recording.answer(request))) == [
        'text: "hi"',
        "period {",
        '  start_time: "2030-01-01T10:00:00Z"',
        "  end_time: <unset>",
        "}",
        "email: <unset>",
    ]


WRONG_ANSWERS = [
    ('text: "hi"', pb.EchoResponse(text="ho"), 'text is "ho", not "hi".'),
    ("text: <any>", pb.EchoResponse(), "text is not set."),
    ("caller: <unset>", pb.EchoResponse(caller="tester"), "caller is set, but must not be."),
    ("caller: <name>", pb.EchoResponse(caller="tester"), "caller is not <name> of the state."),
    ("deadline: <start>", pb.EchoResponse(), "deadline is not set."),
]


@pytest.mark.parametrize(("line", "answer", "problem"), WRONG_ANSWERS)
def test_a_wrong_answer_is_described_by_its_field(line: str, answer: pb.EchoResponse, problem: str) -> None:
    """Each difference names the field and what is wrong with it."""
    assert list(differences(parse_pattern([line]), answer, {"name": "reader"})) == [problem]


@pytest.mark.parametrize("lines", [["period {", 'text: "hi"'], ["}"], ["text = 1"]])
def test_a_malformed_pattern_is_rejected(lines: list[str]) -> None:
    """The error names the malformed line or block."""
    with pytest.raises(ValueError, match=r"period has no closing brace|unexpected line: }|malformed line: text = 1"):
        parse_pattern(lines)


@pytest.mark.parametrize("line", ["missing: 1", "text: 1", "text {"])
def test_a_value_that_does_not_fit_its_field_is_rejected(line: str) -> None:
    """The error names the field."""
    lines = [line, "}"] if line.endswith("{") else [line]

    with pytest.raises(ValueError, match=r"has no field missing|EchoRequest\.text"):
        message_of(parse_pattern(lines), pb.EchoRequest, {})
