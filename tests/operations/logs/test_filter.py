from __future__ import annotations

import pytest

from local.log_reader import LogLine
from mesh.telemetry.log_lines import json_line
from operations.invalid_filter import InvalidFilter
from operations.logs.filter import FAILED, LogFilter, headline, other_facts, printable

CALL = {
    "request": {"name": 'Gül "7"', "page_size": 5}, "method": "solo60.gym.v1.GymService/GetGym", "caller": "session",
    "code": "NOT_FOUND", "duration_ms": 3.25, "correlation_id": "abcd1234", "trace_id": "feed5678", "event": "call",
    "level": "info", "timestamp": "2026-03-03T10:00:01.123456Z",
}  # fmt: skip
FINE = {
    **CALL, "method": "solo60.user.v1.UserService/GetUser", "code": "OK", "correlation_id": "other",
    "trace_id": "cafe9012",
}  # fmt: skip
CRASH = {
    "event": "a handler crashed", "level": "error", "exception": "Traceback:\n  ZeroDivisionError",
    "timestamp": "2026-03-03T10:00:02Z",
}  # fmt: skip
LINES = {
    "call": json_line(CALL),
    "fine": json_line(FINE),
    "crash": json_line(CRASH),
    "plain": b"Traceback: No module named 'services'\n",
}


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (LogFilter(), "call fine crash plain"),
        (LogFilter(level="debug"), "call fine crash plain"),
        (LogFilter(level="warning"), "crash plain"),
        (LogFilter(level="critical"), "plain"),
        (LogFilter(text="TRACEBACK:"), "crash plain"),
        (LogFilter(text="page_size"), "call fine"),
        (LogFilter(text='gül "7'), ""),
        (LogFilter(text='gül \\"7'), "call fine"),
        (LogFilter(text="GÜL"), "call fine"),
        (LogFilter(text="2026-03"), ""),
        (LogFilter(correlation_id="abcd1234"), "call"),
        (LogFilter(correlation_id="abcd"), ""),
        (LogFilter(correlation_id="feed5678"), "call"),
        (LogFilter(method="gym.GetGym"), "call"),
        (LogFilter(method="getgym"), "call"),
        (LogFilter(method="solo60.user.v1.UserService/"), "fine"),
        (LogFilter(code="NOT_FOUND"), "call"),
        (LogFilter(code="OK"), "fine"),
        (LogFilter(code=FAILED), "call"),
        (LogFilter(code=FAILED, method="user"), ""),
    ],
)
def test_a_filter_matches_by_every_field(wanted: LogFilter, found: str) -> None:
    """A line matches if every field of the filter matches. The fast check never drops a line that matches."""
    matching = [name for name, raw in LINES.items() if wanted.matches(LogLine.parse(raw.decode(), "gym"))]
    possible = [name for name, raw in LINES.items() if wanted.may_match(raw)]

    assert matching == found.split()
    assert set(matching) <= set(possible)


def test_the_fast_check_drops_most_lines() -> None:
    """The fast check drops lines that cannot match, so that they are not parsed."""
    wanted = LogFilter(text="zero", level="error")

    assert [name for name, raw in LINES.items() if wanted.may_match(raw)] == ["crash", "plain"]


@pytest.mark.parametrize(("field", "value"), [("level", "loud"), ("code", "NOTFOUND")])
def test_an_unknown_value_is_rejected(field: str, value: str) -> None:
    """An unknown level or code is rejected with the name of the field and all values."""
    with pytest.raises(InvalidFilter, match=rf'^{field}: "{value}" is not a {field}\. Use .*') as caught:
        LogFilter(**{field: value})

    assert caught.value.field == field


def test_a_typed_filter_ignores_spaces_and_case() -> None:
    """Levels and codes may be typed in any case, and all fields with spaces around them."""
    typed = LogFilter.of(level=" Warning", text=" a ", correlation_id="x ", method=" gym", code="not_found ")

    assert typed == LogFilter("warning", "a", "x", "gym", "NOT_FOUND")
    assert LogFilter.of(level="", text="", correlation_id="", method="", code="Failed").code == FAILED


def test_a_line_has_a_headline_and_other_facts() -> None:
    """The headline of a call is its method, code and duration. Values that are not text are shown as JSON."""
    line = LogLine.parse(json_line(CALL).decode(), "gym")

    assert headline(line) == "solo60.gym.v1.GymService/GetGym NOT_FOUND 3.25 ms"
    assert other_facts(line) == {
        "request": '{"name":"Gül \\"7\\"","page_size":5}', "caller": "session", "correlation_id": "abcd1234",
        "trace_id": "feed5678",
    }  # fmt: skip


def test_a_method_of_another_event_is_a_fact() -> None:
    """Only the headline of a call contains method, code and duration, so other lines show them as facts."""
    line = LogLine.parse(json_line({**CALL, "event": "called"}).decode(), "console")

    assert headline(line) == "called"
    assert other_facts(line)["method"] == "solo60.gym.v1.GymService/GetGym"
    assert other_facts(line)["code"] == "NOT_FOUND"


@pytest.mark.parametrize(
    ("hostile", "safe"), [("a\x1b[31m", "a\\x1b[31m"), ("\u202eevil", "\\u202eevil"), ("a\nb", "a\\nb"), ("é", "é")]
)
def test_control_characters_are_escaped(hostile: str, safe: str) -> None:
    """Characters that control a terminal or reverse the text are shown as escapes."""
    assert printable(hostile) == safe
