"""Search for ids: sessions, payments, subscriptions, outbox messages, mail, traces, correlation ids and callers."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeAlias
from uuid import UUID

from grpc import StatusCode

from contracts.errors import ServiceError
from contracts.services import SERVICE_NAMES
from mesh.failure import Failure
from mesh.serving.keyring_file import KeyringFile
from mesh.telemetry.spans import read_trace, traces_of
from mesh.telemetry.untraced import untraced
from operations.addresses import page_address
from operations.texts import counted, failure_text
from solo60.communication.v1 import communication_pb2
from solo60.communication.v1.communication_pb2_grpc import CommunicationServiceStub
from solo60.mesh.v1 import outbox_pb2
from solo60.mesh.v1.outbox_pb2_grpc import OutboxServiceStub
from solo60.payment.v1 import payment_pb2
from solo60.payment.v1.payment_pb2_grpc import PaymentServiceStub
from solo60.session.v1 import session_pb2
from solo60.session.v1.session_pb2_grpc import SessionServiceStub
from solo60.subscription.v1 import subscription_pb2
from solo60.subscription.v1.subscription_pb2_grpc import SubscriptionServiceStub

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from pathlib import Path

    from mesh.config import Settings
    from mesh.serving.channel import Channels

    Search: TypeAlias = Callable[[], Awaitable[Sequence["Hit"]]]

# A reader waits for the result. Slower services are reported as failures.
TIMEOUT_S = 2.0
_TRACE_ID = re.compile(r"[0-9a-f]{32}", re.IGNORECASE)
_CORRELATION_ID = re.compile(r"[A-Za-z0-9_-]{8,64}")


@dataclass(frozen=True, slots=True)
class Hit:
    """One match. `page` is its path in the console. `is_exact` is True if the query is its whole name or id."""

    kind: str
    title: str
    page: str
    detail: str = ""
    is_exact: bool = False


@dataclass(frozen=True, slots=True)
class Found:
    """Hits, and a sentence for each source that could not be searched."""

    hits: tuple[Hit, ...]
    failures: tuple[str, ...] = ()


class IdSearch:
    """Search in a mesh. `channels` need the scopes outbox.read and the read scopes of the services."""

    def __init__(self, settings: Settings, channels: Channels) -> None:
        self._settings = settings
        self._channels = channels

    async def find(self, query: str) -> Found:
        """Return everything with the id `query`, and the callers with `query` in their name, within `TIMEOUT_S`."""
        searches: dict[str, Search] = {"keyring": partial(self._callers, query)}
        uuid = _uuid_in(query)
        if uuid:
            searches |= self._searches_for_uuid(uuid)
        if _CORRELATION_ID.fullmatch(query) and any(map(str.isdigit, query)):
            # Reading the logs and spans takes longest, and only ids have digits.
            searches |= {
                "traces": partial(asyncio.to_thread, _traces, self._settings.local_span_dir, query),
                "logs": partial(asyncio.to_thread, _log_lines, self._settings.log_folder, query),
            }
        with untraced():
            return await _run_all(searches)

    def _searches_for_uuid(self, uuid: str) -> Mapping[str, Search]:
        outboxes = {f"outbox of {name}": partial(self._outbox_message, name, uuid) for name in SERVICE_NAMES}
        return {
            "session": partial(self._session, uuid),
            "payment": partial(self._payment, uuid),
            "subscription": partial(self._subscription, uuid),
            "mail": partial(self._mail, uuid),
            **outboxes,
        }

    async def _session(self, uuid: str) -> Sequence[Hit]:
        stub = self._channels.stub(SessionServiceStub)
        found = (await stub.GetSession(session_pb2.GetSessionRequest(session_id=uuid))).session
        return [_journey("session", uuid, session_pb2.SessionStatus.Name(found.status))]

    async def _payment(self, uuid: str) -> Sequence[Hit]:
        stub = self._channels.stub(PaymentServiceStub)
        found = (await stub.GetPayment(payment_pb2.GetPaymentRequest(payment_id=uuid))).payment
        return [_journey("payment", uuid, payment_pb2.PaymentStatus.Name(found.status))]

    async def _subscription(self, uuid: str) -> Sequence[Hit]:
        stub = self._channels.stub(SubscriptionServiceStub)
        request = subscription_pb2.GetSubscriptionRequest(subscription_id=uuid)
        found = (await stub.GetSubscription(request)).subscription
        return [_journey("subscription", uuid, subscription_pb2.SubscriptionStatus.Name(found.status))]

    async def _mail(self, uuid: str) -> Sequence[Hit]:
        stub = self._channels.stub(CommunicationServiceStub)
        found = (await stub.GetMessage(communication_pb2.GetMessageRequest(message_id=uuid))).message
        status = communication_pb2.MessageStatus.Name(found.status).removeprefix("MESSAGE_STATUS_")
        page = page_address("mail", "messages", uuid)
        return [Hit("mail", uuid, page, f"{found.template_key}, {status}", is_exact=True)]

    async def _outbox_message(self, service: str, uuid: str) -> Sequence[Hit]:
        stub = self._channels.stub(OutboxServiceStub, at=service)
        found = (await stub.GetMessage(outbox_pb2.GetMessageRequest(message_id=uuid))).message
        status = outbox_pb2.OutboxStatus.Name(found.status).removeprefix("OUTBOX_STATUS_")
        detail = f"outbox of {service}, {status}, to {found.destination}"
        return [Hit("outbox message", uuid, page_address("outbox", service, uuid), detail, is_exact=True)]

    async def _callers(self, query: str) -> Sequence[Hit]:
        callers = {record.caller for record in KeyringFile(self._settings.keyring_path).records()}
        return [
            Hit("caller", each, page_address("keys", caller=each), is_exact=each.lower() == query.lower())
            for each in sorted(callers)
            if query.lower() in each.lower()
        ]


async def _run_all(searches: Mapping[str, Search]) -> Found:
    tasks = {source: asyncio.ensure_future(search()) for source, search in searches.items()}
    await asyncio.wait(tasks.values(), timeout=TIMEOUT_S)
    hits: list[Hit] = []
    failures = []
    for source, task in tasks.items():
        try:
            if task.done():
                hits += task.result()
            else:
                task.cancel()
                failures.append(f"{source}: no answer within {TIMEOUT_S:.0f} s.")
        except ServiceError as error:
            if error.code is not StatusCode.NOT_FOUND:
                failures.append(f"{source}: {failure_text(error)}")
        except (Failure, OSError) as error:
            failures.append(f"{source}: {error}")
    return Found(tuple(hits), tuple(failures))


def _uuid_in(query: str) -> str:
    """Return `query` as the canonical text of a UUID, or "" if it is none. Trace ids have no hyphens."""
    try:
        return str(UUID(query)) if "-" in query else ""
    except ValueError:
        return ""


def _journey(kind: str, uuid: str, status: str) -> Hit:
    return Hit(kind, uuid, page_address("journeys", uuid), status.partition("_STATUS_")[2], is_exact=True)


def _traces(folder: Path, query: str) -> Sequence[Hit]:
    """Return the trace with the id `query`, or the traces with this correlation id as one hit."""
    if _TRACE_ID.fullmatch(query) and (spans := read_trace(folder, query.lower())):
        detail = counted(len(spans), "span")
        return [Hit("trace", query.lower(), page_address("traces", query.lower()), detail, is_exact=True)]
    number = len(traces_of(folder, query))
    if not number:
        return []
    detail = f"{counted(number, 'trace')} with this correlation id"
    return [Hit("traces", query, page_address("traces", query), detail, is_exact=True)]


def _log_lines(folder: Path, correlation_id: str) -> Sequence[Hit]:
    """Return one hit if a log line has this correlation id."""
    wanted = f'"correlation_id":"{correlation_id}"'.encode()
    for path in sorted(folder.glob("*.jsonl")):
        with path.open("rb") as file:
            if any(wanted in line for line in file):
                page = page_address("logs", correlation=correlation_id)
                return [Hit("log lines", correlation_id, page, "Lines with this correlation id", is_exact=True)]
    return []
