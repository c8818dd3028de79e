"""What is told about a mail, to callers, logs and traces, names nobody and repeats nothing."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING

import pytest
from opentelemetry import trace
from structlog.testing import capture_logs

from services.communication.sending_span import NAME
from solo60.communication.v1 import communication_pb2 as pb
from solo60.communication.v1.communication_pb2_grpc import CommunicationServiceStub
from tests.services.communication.moody_mail_server import BUSY, HANG_UP, UNKNOWN
from tests.services.communication.patience import until

if TYPE_CHECKING:
    from pathlib import Path

    from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    from tests.services.communication.moody_mail_server import MoodyMailServer
    from tests.support.serving import MeshForTests

SECRETS = ("ada@example.org", "example.org", "Lovelace", "code-83-19")
REQUEST = pb.SendEmailAsyncRequest(
    recipient=pb.Recipient(email="ada@example.org", display_name="Ada Lovelace"),
    template_key="PASSWORD_RESET",
    variables={"member_name": "Ada Lovelace", "code": "code-83-19"},
)


def named(spans: InMemorySpanExporter, name: str) -> list[ReadableSpan]:
    """Return the finished spans of this name."""
    return [span for span in spans.get_finished_spans() if span.name == name]


@pytest.mark.parametrize("answer", [BUSY, UNKNOWN, HANG_UP, "250 OK"])
async def test_nothing_personal_is_told(
    spans: InMemorySpanExporter,
    moody_mesh: MeshForTests,
    moody: MoodyMailServer,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    answer: str,
) -> None:
    """S4: whatever a mail server says, last_error, logs and spans hold no address, name or variable."""
    # A second attempt has a span of its own, and a slow test would meet it.
    monkeypatch.setattr("services.communication.domain.backoff_s", lambda _attempts, _rng: 600.0)
    caplog.set_level(logging.INFO)
    moody.answers.append(answer)
    post = moody_mesh.stub(CommunicationServiceStub)

    with capture_logs() as logs:
        response = await post.SendEmailAsync(REQUEST)
        await until(lambda: any(entry["event"] == "mail" for entry in logs))
    message = (await post.GetMessage(pb.GetMessageRequest(message_id=response.message_id))).message

    assert bool(message.last_error) == (answer != "250 OK")
    assert len(named(spans, NAME)) == 1
    # The moody server's own log is not ours.
    own_records = [record.getMessage() for record in caplog.records if not record.name.startswith("mail.")]
    told = [str(message), str(logs), *own_records, *(span.to_json() for span in spans.get_finished_spans())]
    assert [secret for secret in SECRETS if any(secret in each for each in told)] == []


async def test_nothing_personal_stays_when_a_mail_is_sent(mesh: MeshForTests, mail_folder: Path) -> None:
    """A code that resets a password is not kept once its mail is sent."""
    await mesh.stub(CommunicationServiceStub).SendEmail(pb.SendEmailRequest.FromString(REQUEST.SerializeToString()))

    (path,) = (mail_folder / "new").iterdir()
    assert "code-83-19" in path.read_text()
    async with mesh.database("communication").connection() as connection:
        kept = await connection.fetchval("select string_agg(m::text, '') from messages m")
    assert [secret for secret in SECRETS if secret in kept] == []


async def test_a_mail_is_sent_in_the_trace_of_the_call_that_asked_for_it(
    tracers: TracerProvider, spans: InMemorySpanExporter, mesh: MeshForTests
) -> None:
    """S5, T-j8: one trace leads from the caller through the store to the mail server."""
    post = mesh.stub(CommunicationServiceStub)
    with tracers.get_tracer("test").start_as_current_span("caller") as caller:
        response = await post.SendEmailAsync(REQUEST)
    await until(lambda: bool(named(spans, NAME)))

    (sending,) = named(spans, NAME)
    (serving,) = [span for span in spans.get_finished_spans() if span.kind is trace.SpanKind.SERVER]
    context = sending.get_span_context()
    assert context is not None
    assert context.trace_id == caller.get_span_context().trace_id
    assert sending.parent is not None
    served = serving.get_span_context()
    assert served is not None
    assert sending.parent.span_id == served.span_id
    assert sending.kind is trace.SpanKind.CLIENT
    attributes = json.loads(sending.to_json())["attributes"]
    assert attributes["solo60.message_id"] == response.message_id
    assert attributes["solo60.attempt"] == 1
    assert attributes["server.address"] == "127.0.0.1"
