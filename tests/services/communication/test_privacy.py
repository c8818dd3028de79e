"""Privacy of mails: no personal data in answers, logs and traces, nor in the database once a mail is sent."""

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
from tests.services.communication.faulty_mail_server import BUSY, HANG_UP, UNKNOWN
from tests.support.eventually import eventually

if TYPE_CHECKING:
    from pathlib import Path

    from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    from tests.services.communication.faulty_mail_server import FaultyMailServer
    from tests.support.serving import MeshForTests

SECRETS = ("ada@example.org", "example.org", "Lovelace", "code-83-19")
REQUEST = pb.SendEmailAsyncRequest(
    recipient=pb.Recipient(email="ada@example.org", display_name="Ada Lovelace"),
    template_key="PASSWORD_RESET",
    variables={"member_name": "Ada Lovelace", "code": "code-83-19"},
)


def spans_named(spans: InMemorySpanExporter, name: str) -> list[ReadableSpan]:
    """Return the finished spans of this name."""
    return [span for span in spans.get_finished_spans() if span.name == name]


@pytest.mark.requirement("S4")
@pytest.mark.parametrize("answer", [BUSY, UNKNOWN, HANG_UP, "250 OK"])
async def test_answers_logs_and_spans_contain_no_personal_data(
    spans: InMemorySpanExporter,
    faulty_mesh: MeshForTests,
    faulty: FaultyMailServer,
    caplog: pytest.LogCaptureFixture,
    answer: str,
) -> None:
    """After any answer of a mail server, `last_error`, logs and spans contain no address, name or variable."""
    caplog.set_level(logging.INFO)
    faulty.answers.append(answer)
    stub = faulty_mesh.stub(CommunicationServiceStub)

    with capture_logs() as logs:
        response = await stub.SendEmailAsync(REQUEST)
        await eventually(lambda: any(entry["event"] == "mail" for entry in logs))
    message = (await stub.GetMessage(pb.GetMessageRequest(message_id=response.message_id))).message

    assert bool(message.last_error) == (answer != "250 OK")
    assert len(spans_named(spans, NAME)) == 1
    # The log of the test's mail server is not under test.
    own_records = [record.getMessage() for record in caplog.records if not record.name.startswith("mail.")]
    exposed = [str(message), str(logs), *own_records, *(span.to_json() for span in spans.get_finished_spans())]
    assert [secret for secret in SECRETS if any(secret in each for each in exposed)] == []


async def test_a_sent_mail_leaves_no_personal_data(mesh: MeshForTests, mail_folder: Path) -> None:
    """After a mail is sent, its row contains neither its address nor its variables, such as a reset code."""
    await mesh.stub(CommunicationServiceStub).SendEmail(pb.SendEmailRequest.FromString(REQUEST.SerializeToString()))

    (path,) = (mail_folder / "new").iterdir()
    assert "code-83-19" in path.read_text()
    async with mesh.database("communication").connection() as connection:
        row = await connection.fetchval("select string_agg(m::text, '') from messages m")
    assert [secret for secret in SECRETS if secret in row] == []


@pytest.mark.requirement("S5")
async def test_a_mail_is_sent_in_the_trace_of_its_call(
    tracers: TracerProvider, spans: InMemorySpanExporter, mesh: MeshForTests
) -> None:
    """The span of sending a mail is a child of the span of the call that requested it."""
    stub = mesh.stub(CommunicationServiceStub)
    with tracers.get_tracer("test").start_as_current_span("caller") as caller:
        response = await stub.SendEmailAsync(REQUEST)
    await eventually(lambda: bool(spans_named(spans, NAME)))

    (sending,) = spans_named(spans, NAME)
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
