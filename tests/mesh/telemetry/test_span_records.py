from __future__ import annotations

from typing import Any

import asyncpg
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Status, StatusCode

from contracts.errors import GymNotFound
from contracts.mail_address import MAX_ADDRESS_LENGTH
from contracts.redaction import MASK, MAX_TEXT_LENGTH
from mesh.telemetry.log_lines import json_line
from mesh.telemetry.span_records import MAX_EVENTS, masked_text, record_of
from mesh.telemetry.spans import StoredSpan

CANARIES = ("ada@example.org", "Lovelace", "code-83-19", "example.org")


class Recording:
    """Tracer, and the records of its spans."""

    def __init__(self) -> None:
        self._spans = InMemorySpanExporter()
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self._spans))
        self.tracer = provider.get_tracer("test")

    @property
    def records(self) -> list[dict[str, object]]:
        """The records of the finished spans, in the order of their ends."""
        return [record_of(span, "user") for span in self._spans.get_finished_spans()]


@pytest.fixture
def recording() -> Recording:
    """Return a new Recording."""
    return Recording()


@pytest.mark.requirement("S4")
def test_an_attribute_of_a_library_is_masked(recording: Recording) -> None:
    """Only the values of the mesh's attributes are stored, because a library may put personal data in any other."""
    attributes: dict[str, Any] = {
        "db.query.parameter.email": "ada@example.org",
        "enduser.id": "Lovelace",
        "rpc.request.metadata.authorization": ("code-83-19",),
        "phone": 83_19,
        "rpc.status_code": "OK",
        "solo60.attempt": 3,
        "solo60.names": ("a", "b"),
        "solo60.raw": b"Lovelace",
    }
    with recording.tracer.start_as_current_span("serve", attributes=attributes) as span:
        span.add_event("mail", {"recipient": "Lovelace", "solo60.attempt": 3})

    [record] = recording.records
    assert not any(canary in str(record) for canary in CANARIES)
    assert record["attributes"] == {
        "db.query.parameter.email": MASK,
        "enduser.id": MASK,
        "rpc.request.metadata.authorization": MASK,
        "phone": MASK,
        "rpc.status_code": "OK",
        "solo60.attempt": 3,
        "solo60.names": ["a", "b"],
        "solo60.raw": MASK,
    }
    assert "'recipient': '***'" in str(record["events"])


@pytest.mark.requirement("S4")
def test_an_exception_is_stored_without_its_text(recording: Recording) -> None:
    """A span that ends with an exception has the exception's class, and neither its text nor its traceback."""
    error = asyncpg.UniqueViolationError('duplicate key: "users_email_key". Key (name)=(Lovelace) already exists.')
    with pytest.raises(asyncpg.UniqueViolationError), recording.tracer.start_as_current_span("insert"):
        raise error

    [record] = recording.records
    assert not any(canary in str(record) for canary in CANARIES)
    assert record["error"] == "asyncpg.exceptions.UniqueViolationError"
    assert "'exception.type': 'asyncpg.exceptions.UniqueViolationError'" in str(record["events"])


def test_the_message_of_a_service_error_is_stored(recording: Recording) -> None:
    """The message of a ServiceError is stored, because it has no personal data."""
    with pytest.raises(GymNotFound), recording.tracer.start_as_current_span("call"):
        raise GymNotFound

    [record] = recording.records
    assert record["error"] == "GymNotFound: There is no gym with this id."


@pytest.mark.requirement("S4")
def test_mail_addresses_are_masked_everywhere(recording: Recording) -> None:
    """A mail address is masked in names, errors, the user agent and the mesh's own attributes."""
    attributes = {
        "user_agent.original": "curl (ada@example.org)",
        "solo60.caller": "ada@example.org",
        "solo60.correlation_id": "ada@example.org",
        "solo60.note": ("ada@example.org",),
        "solo60.to.ada@example.org": "x",
    }
    with recording.tracer.start_as_current_span("mail to <ada@example.org>", attributes=attributes) as span:
        span.add_event("ada@example.org", {"solo60.to": "ada@example.org"})
        span.set_status(Status(StatusCode.ERROR, "550 5.1.1 <ada@example.org>: unknown"))

    [record] = recording.records
    assert not any(canary in str(record) for canary in CANARIES)
    assert record["error"] == "550 5.1.1 <***>: unknown"
    assert record["name"] == "mail to <***>"


def test_a_failed_span_without_a_text_is_an_error(recording: Recording) -> None:
    """A span with the status ERROR is an error, even without a description."""
    with recording.tracer.start_as_current_span("serve") as span:
        span.set_status(StatusCode.ERROR)

    assert recording.records[0]["error"] == "The span has the status ERROR, without a description."


def test_long_texts_and_many_events_are_cut(recording: Recording) -> None:
    """A text is cut after MAX_TEXT_LENGTH characters, and only the first MAX_EVENTS events are stored."""
    with recording.tracer.start_as_current_span("x" * 10_000, attributes={"solo60.note": "x" * 10_000}) as span:
        for _ in range(MAX_EVENTS + 5):
            span.add_event("retry")

    [record] = recording.records
    assert len(json_line(record)) < 200 * MAX_TEXT_LENGTH
    assert record["attributes"] == {"solo60.note": "x" * MAX_TEXT_LENGTH + "…"}
    assert str(record["events"]).count("retry") == MAX_EVENTS


@pytest.mark.parametrize("padding", range(MAX_TEXT_LENGTH - 20, MAX_TEXT_LENGTH + 1))
def test_no_part_of_a_cut_address_is_left(padding: int) -> None:
    """An address at the end of a cut text is masked as a whole."""
    local_part = "a" * (MAX_ADDRESS_LENGTH - len("@example.org"))
    text = f"{'x' * (padding - 1)} {local_part}@example.org"

    assert "aa" not in masked_text(text)
    assert "example" not in masked_text(f"{'x' * (padding - 1)} ada@example.org")


@pytest.mark.parametrize("text", ["\ud800", "a\x00b\x1b[31m", "\u2028\u0085\n", "</script>", "é\U0001f3cb"], ids=ascii)
def test_any_text_stays_in_its_line(recording: Recording, text: str) -> None:
    """Any text is stored in one line, and read back; a lone surrogate becomes a question mark."""
    with recording.tracer.start_as_current_span(text, attributes={"solo60.note": text}):
        pass

    line = json_line(recording.records[0])

    assert line.count(b"\n") == 1
    span = StoredSpan.parse(line)
    assert span is not None
    assert span.name == span.attributes["solo60.note"] == text.replace("\ud800", "?")
