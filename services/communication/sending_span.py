"""Span of an attempt to send mail, in the trace of the call that stored the message."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from opentelemetry.semconv.attributes.error_attributes import ERROR_TYPE
from opentelemetry.semconv.attributes.server_attributes import SERVER_ADDRESS, SERVER_PORT
from opentelemetry.trace import SpanKind, Status, StatusCode

from interceptors.tracing.interceptor import CORRELATION_ID_ATTRIBUTE
from interceptors.tracing.span_attributes import tracer_of
from interceptors.tracing.trace_context import trace_of
from mesh.telemetry.current import current_tracers

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opentelemetry.trace import Span

    from services.communication.domain import Attempt, SmtpOutcome
    from services.communication.mail_server import MailServer

NAME = "smtp send"


@contextmanager
def sending_span(attempt: Attempt, server: MailServer) -> Iterator[Span]:
    """Start the span of an attempt, without recipients or text of the mail."""
    attributes: dict[str, str | int] = {
        SERVER_ADDRESS: server.host,
        SERVER_PORT: server.port,
        CORRELATION_ID_ATTRIBUTE: attempt.correlation_id,
        "solo60.message_id": str(attempt.message_id),
        "solo60.template_key": attempt.template_key,
        "solo60.attempt": attempt.number,
    }
    parent = trace_of(attempt.traceparent)
    tracer = tracer_of(current_tracers(), "solo60.communication")
    # The text of an exception may contain an address.
    with tracer.start_as_current_span(
        NAME, parent, SpanKind.CLIENT, attributes, record_exception=False, set_status_on_exception=False
    ) as span:
        yield span


def record_outcome(span: Span, outcome: SmtpOutcome) -> None:
    """Record the error of an attempt, if any, in the span of the attempt."""
    if outcome.error:
        span.set_attribute(ERROR_TYPE, "refused" if outcome.is_refused else "failed")
        span.set_status(Status(StatusCode.ERROR, outcome.error))
