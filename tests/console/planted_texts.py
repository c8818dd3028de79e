"""Hostile texts in everything that pages read: calls, logs, spans, mail and outboxes."""

from __future__ import annotations

import json
import smtplib
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from uuid import uuid4

from solo60.communication.v1.communication_pb2 import Recipient, SendEmailAsyncRequest
from tests.console.outbox_messages import SEND, run_sql
from tests.support.api_client import JSON, ask, operator_key
from tests.support.hostile_texts import LINES, TEXTS
from tests.system.test_booking import FIRST_HOUR

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tests.support.local_mesh import LocalMesh

SERVICE = "hostile"
BOOK = "solo60.session.v1.SessionService/BookSession"
ALL = "\n".join(LINES)
# SMTP allows lines of 1,000 bytes.
MAILED = [text for text in TEXTS if len(text) < 900]
INSERT = """
    insert into outbox (
        message_id, destination, payload, correlation_id, traceparent, aggregate_key,
        status, attempts, last_error, due_time, settle_time
    ) values ('{id}', '{destination}', '\\x{payload}', $${text}$$, '', $${text}$$, 'dead', 1, $${text}$$, null, now())
"""


@dataclass(frozen=True, slots=True)
class Planted:
    """Ids of everything with hostile texts. The members' addresses have the domain `domain`."""

    domain: str
    gym_id: str
    session_id: str
    trace_id: str
    message_ids: list[str]
    mail_to: str


def plant(mesh: LocalMesh, data_dir: Path) -> Planted:
    """Plant all texts in the services and the mail of `mesh`, and in the logs and spans of a console at `data_dir`."""
    for folder in ("logs", "spans"):
        (data_dir / folder).mkdir()
    (data_dir / "inbox").symlink_to(mesh.settings.inbox_folder)
    domain, gym_id, session_id = _book(mesh)
    trace_id = _write_spans(data_dir / "spans", session_id)
    _write_logs(data_dir / "logs", trace_id, session_id)
    return Planted(domain, gym_id, session_id, trace_id, _add_dead_letters(mesh), _send_mails(mesh))


def call(mesh: LocalMesh, method: str, request: Mapping[str, object]) -> Any:
    """Return the response of a call with the operator's key, as JSON."""
    headers = {**JSON, "x-api-key": operator_key(mesh), "idempotency-key": str(uuid4())}
    answer = ask(mesh.settings.console_listen_address, f"/solo60.{method}", json.dumps(request), **headers)
    assert answer.status == 200, (method, answer.body)
    return answer.json()


def _book(mesh: LocalMesh) -> tuple[str, str, str]:
    """Create a member for each text, and a gym with all of them that one member books.

    Return the domain of the members' addresses, and the ids of the gym and the booking.
    """
    domain = f"{uuid4().hex}.example"
    users = [
        call(
            mesh,
            "user.v1.UserService/CreateUser",
            {"email": f"{number}@{domain}", "displayName": text, "timeZone": "UTC"},
        )["user"]["userId"]
        for number, text in enumerate(LINES)
    ]
    gym_id = call(
        mesh,
        "gym.v1.GymService/CreateGym",
        {
            "name": f"<img id=planted src=x: onerror=hostile()>{{{{hostile()}}}} {uuid4()}",
            "timeZone": "UTC",
            "pricePerHour": {"currencyCode": "GBP", "minorUnits": "500"},
            "creditsPerHour": "2",
            "noisePolicy": ALL[:2000],
        },
    )["gym"]["gymId"]
    member = users[0]
    call(mesh, "payment.v1.PaymentService/GrantCredits", {"userId": member, "credits": "9", "reason": LINES[0]})
    start, end = FIRST_HOUR.isoformat(), FIRST_HOUR.replace(minute=30).isoformat()
    period = {"startTime": start, "endTime": end}
    request = {"userId": member, "gymId": gym_id, "period": period, "paymentMethod": {"credits": {}}}
    booked = call(mesh, "session.v1.SessionService/BookSession", request)["session"]
    return domain, gym_id, booked["sessionId"]


def _write_spans(folder: Path, session_id: str) -> str:
    """Write a trace for each text, and one trace with all texts; return the id of the latter."""
    now_ns, all_in_one = time.time_ns(), uuid4().hex
    with (folder / f"{SERVICE}.jsonl").open("w") as file:

        def write(trace_id: str, span_id: str, parent_id: str | None, name: str, **more: object) -> None:
            span = {"trace_id": trace_id, "span_id": span_id, "parent_id": parent_id, "service": SERVICE, "name": name}
            times = {"kind": "SERVER", "start_ns": now_ns - 10**9, "end_ns": now_ns, "error": None}
            file.write(json.dumps(span | times | more) + "\n")

        events = [{"name": text, "time_ns": now_ns, "attributes": {text: text}} for text in TEXTS]
        attributes = {text: text for text in TEXTS} | {"list": list(TEXTS), "map": {text: text for text in TEXTS}}
        write(
            all_in_one, "root", None, BOOK, attributes=attributes, events=events, correlation_id=session_id, error=ALL
        )
        for number, text in enumerate(TEXTS):
            values = {"error": text, "caller": text, "correlation_id": text}
            write(all_in_one, f"{number}{text}", "root", text, **{**values, "service": text, "kind": text})
            write(uuid4().hex, uuid4().hex[:16], None, text, **values)
    return all_in_one


def _write_logs(folder: Path, trace_id: str, session_id: str) -> None:
    """Write a line for each text, a call with each text as its request, and a line with all texts."""
    base: dict[str, object] = {"service": SERVICE, "timestamp": datetime.now(UTC).isoformat()}
    of_call: dict[str, object] = {"event": "call", "method": BOOK, "trace_id": trace_id, "span_id": "root"}
    lines = [
        base | dict.fromkeys(("event", "level", "exception", "correlation_id", "logger", text), text) for text in TEXTS
    ]
    lines += [base | {"event": "call", "method": text, "code": text, "duration_ms": text} for text in TEXTS]
    lines += [base | {"event": "undeclared call", "method": text, "callee": text} for text in LINES]
    lines.append(base | of_call | {"correlation_id": session_id, "request": {session_id: list(TEXTS), ALL: ALL}})
    lines.append(base | {"event": "all", "level": "error", "surrogate": "\ud800"} | {text: text for text in TEXTS})
    lines.append(base | {"event": ALL, "level": "error", "correlation_id": session_id, "surrogate": "\ud800"})
    (folder / f"{SERVICE}.jsonl").write_text("".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines))


def _add_dead_letters(mesh: LocalMesh) -> list[str]:
    """Add a dead letter for each text, in each of its columns, and return their ids."""
    variables = {text: text for text in LINES}
    recipient = Recipient(email="ada@members.example")
    request = SendEmailAsyncRequest(recipient=recipient, template_key=LINES[0], variables=variables)
    payload = request.SerializeToString().hex()
    ids = [str(uuid4()) for _ in LINES]
    for each, text in zip(ids, LINES, strict=True):
        run_sql(
            mesh,
            "session",
            INSERT.format(id=each, destination=SEND, payload=payload, text=text),
        )
    return ids


def _send_mails(mesh: LocalMesh) -> str:
    """Send a mail for each text, and a last one with all texts; return their recipient."""
    to = f"{uuid4().hex}@members.example"
    parts = urlsplit(mesh.settings.smtp_url.get_secret_value())
    with smtplib.SMTP(parts.hostname or "", parts.port or 0) as client:
        for text in MAILED:
            client.sendmail("eve@attacker.example", [to], _mail(text, to, text, text))
        client.sendmail("eve@attacker.example", [to], _mail(ALL, to, ALL, "\n".join(MAILED)))
    return to


def _mail(subject: str, to: str, text: str, html: str) -> bytes:
    """Return a mail as no library would write it: all texts as they are, without encoding."""
    # A long header continues in lines that begin with a space.
    line = subject.replace("\n", "\n ")
    mail = f"""\
Subject: {line}
From: {line} <eve@attacker.example>
To: {line} <{to}>
X-Hostile: {line}
MIME-Version: 1.0
Content-Type: multipart/alternative; boundary=planted

--planted
Content-Type: text/plain; charset=utf-8

{text}
--planted
Content-Type: text/html; charset=utf-8

<h1>Mail</h1>{html}
--planted--
"""
    return mail.replace("\n", "\r\n").encode()
