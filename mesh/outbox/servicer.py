"""gRPC servicer of the outbox: every service serves it to show and repair its messages."""

from __future__ import annotations

import uuid
from dataclasses import asdict
from datetime import UTC
from typing import TYPE_CHECKING
from uuid import UUID

import orjson

from contracts.method import find_method
from contracts.policy import ContractError
from contracts.redaction import redacted
from mesh.data.idempotency import keyed_call
from mesh.data.pages import page_of
from mesh.outbox.message import DeliveryStatus
from solo60.mesh.v1 import outbox_pb2 as pb
from solo60.mesh.v1.outbox_pb2_grpc import OutboxServiceServicer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from grpc.aio import ServicerContext

    from mesh.outbox.administration import OutboxAdministration
    from mesh.outbox.message import StoredMessage
    from mesh.outbox.relay import Relay
    from mesh.outbox.schedule import Schedule


class OutboxServicer(OutboxServiceServicer):
    """Servicer for one outbox and the timers of its service. Wakes `relay` after a retry."""

    def __init__(self, administration: OutboxAdministration, relay: Relay, schedule: Schedule) -> None:
        self._schedule = schedule
        self._administration = administration
        self._relay = relay

    def dead_letters(self) -> Mapping[str, int]:
        """Return the number of dead letters by destination, as of the last count."""
        return self._relay.dead_letters

    async def ListMessages(
        self,
        request: pb.ListMessagesRequest,
        context: ServicerContext[pb.ListMessagesRequest, pb.ListMessagesResponse],
    ) -> pb.ListMessagesResponse:
        page = page_of(request)
        found = await self._administration.list(
            _status_of(request.status),
            request.destination or None,
            page.limit,
            before=page.after(int),
            mentioned_id=request.mentioned_id or None,
        )
        messages, next_page_token = page.cut(found, lambda last: last.message.sequence)
        return pb.ListMessagesResponse(messages=map(_shown, messages), next_page_token=next_page_token)

    async def GetMessage(
        self,
        request: pb.GetMessageRequest,
        context: ServicerContext[pb.GetMessageRequest, pb.GetMessageResponse],
    ) -> pb.GetMessageResponse:
        stored = await self._administration.find(UUID(request.message_id))
        return pb.GetMessageResponse(message=_shown(stored), payload_json=_payload_of(stored))

    async def RetryMessage(
        self,
        request: pb.RetryMessageRequest,
        context: ServicerContext[pb.RetryMessageRequest, pb.RetryMessageResponse],
    ) -> pb.RetryMessageResponse:
        stored = await self._administration.retry(UUID(request.message_id))
        self._relay.wake()
        return pb.RetryMessageResponse(message=_shown(stored))

    async def DropMessage(
        self,
        request: pb.DropMessageRequest,
        context: ServicerContext[pb.DropMessageRequest, pb.DropMessageResponse],
    ) -> pb.DropMessageResponse:
        return pb.DropMessageResponse(message=_shown(await self._administration.drop(UUID(request.message_id))))

    async def ReplayMessage(
        self,
        request: pb.ReplayMessageRequest,
        context: ServicerContext[pb.ReplayMessageRequest, pb.ReplayMessageResponse],
    ) -> pb.ReplayMessageResponse:
        message_id = UUID(request.message_id)
        # A repeated call with the same key gets the message that the first call added.
        new_id = uuid.uuid5(message_id, f"{keyed_call().caller}/{keyed_call().idempotency_key}")
        return pb.ReplayMessageResponse(message=_shown(await self._administration.replay(message_id, new_id)))

    async def GetBacklog(
        self,
        request: pb.GetBacklogRequest,
        context: ServicerContext[pb.GetBacklogRequest, pb.GetBacklogResponse],
    ) -> pb.GetBacklogResponse:
        found = await self._administration.backlog()
        response = pb.GetBacklogResponse(
            pending=[pb.PendingMessages(**asdict(each)) for each in found.pending],
            dead_letters=[pb.DeadLetters(**asdict(each)) for each in found.dead_letters],
        )
        response.now.FromDatetime(found.now)
        return response

    async def GetSchedule(
        self,
        request: pb.GetScheduleRequest,
        context: ServicerContext[pb.GetScheduleRequest, pb.GetScheduleResponse],
    ) -> pb.GetScheduleResponse:
        since = request.delivered_since.ToDatetime(UTC) if request.HasField("delivered_since") else None
        due = await self._schedule.look(without_failed=request.without_failed, delivered_since=since)
        response = pb.GetScheduleResponse(
            due_count=due.due_count,
            failed_count=due.failed_count,
            due_timers=due.due_timers,
            next_due_timer=due.next_due_timer,
            last_sequence=due.last_sequence,
            delivered=[
                pb.DeliveredMessages(destination=destination, count=count)
                for destination, count in due.delivered.items()
            ],
        )
        response.now.FromDatetime(due.now)
        if due.next_due_time is not None:
            response.next_due_time.FromDatetime(due.next_due_time)
        return response


def _status_of(value: pb.OutboxStatus.ValueType) -> DeliveryStatus | None:
    return DeliveryStatus[pb.OutboxStatus.Name(value).removeprefix("OUTBOX_STATUS_")] if value else None


def _payload_of(stored: StoredMessage) -> str:
    """Return the request as redacted JSON, or an empty string if this process does not know its contract."""
    try:
        request_type = find_method(f"/{stored.message.destination}").request_type
    except ContractError:
        return ""
    return orjson.dumps(redacted(request_type.FromString(stored.message.payload))).decode()


def _shown(stored: StoredMessage) -> pb.OutboxMessage:
    message = stored.message
    shown = pb.OutboxMessage(
        message_id=str(message.message_id),
        destination=message.destination,
        event=message.event,
        aggregate_key=message.aggregate_key or "",
        status=pb.OutboxStatus.Value(f"OUTBOX_STATUS_{stored.status.name}"),
        attempts=message.attempts,
        last_error=stored.last_error,
        correlation_id=message.correlation_id,
        trace_id=message.traceparent.partition("-")[2].partition("-")[0],
    )
    shown.create_time.FromDatetime(stored.create_time)
    if stored.due_time is not None:
        shown.due_time.FromDatetime(stored.due_time)
    if stored.settle_time is not None:
        shown.settle_time.FromDatetime(stored.settle_time)
    return shown
