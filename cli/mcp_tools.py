"""Tools of `solo60 mcp`: each reads or does one thing, and returns JSON."""

from __future__ import annotations

import asyncio
import functools
import json
from contextlib import asynccontextmanager, closing
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, TypeVar

from mcp.server.mcpserver.exceptions import ToolError
from mcp_types import ToolAnnotations

from cli.operator import operator_channels
from cli.trace import facts_of
from contracts.errors import ServiceError
from contracts.redaction import redacted
from contracts.services import SERVICE_NAMES, all_methods, short_service_name
from local.log_reader import last_lines, services_with_logs
from mesh.failure import Failure
from mesh.outbox.message import DeliveryStatus
from operations.calls.requests import message_as_dict, parse_request, service_error_as_json
from operations.calls.traced_call import CallOptions, TracedCall
from operations.contracts.descriptions import description_of, summary_of
from operations.contracts.method_names import find_by_name
from operations.contracts.method_report import report_of
from operations.health.report import health_of_all
from operations.logs.filter import LogFilter
from operations.outbox.messages import newest_of_all
from operations.traces.filter import TraceFilter
from operations.traces.reader import TraceReader, find_traces
from solo60.mesh.v1 import outbox_pb2 as pb
from solo60.mesh.v1.outbox_pb2_grpc import OutboxServiceStub

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from google.protobuf.message import Message
    from mcp.server import MCPServer

    from mesh.config import Settings
    from mesh.serving.channel import Channels

Json = dict[str, Any]
Result = TypeVar("Result")
MAX_RESULTS = 100
MAX_MESSAGES = 20
STREAM_TIMEOUT_S = 5.0


class MeshTools:
    """Tools for the Solo60 mesh: internal gRPC services of gyms that members book by the hour.

    Start with `list_methods` and `explain`. Requests and answers are JSON with the field names of the contract. If a
    call fails, `trace` and `logs` show why, by the trace id or correlation id in the error. Personal data is masked.
    """

    def __init__(self, settings: Settings, *, allow_actions: bool) -> None:
        self._settings = settings
        self._allow_actions = allow_actions
        self._opened: Channels | None = None

    @asynccontextmanager
    async def open(self, _server: MCPServer) -> AsyncIterator[None]:
        """Open the channels to the services while the context is open, which the tools need."""
        async with operator_channels(self._settings) as self._opened:
            yield

    @property
    def _channels(self) -> Channels:
        if self._opened is None:
            raise ToolError("The server has not started.")
        return self._opened

    def add_to(self, server: MCPServer) -> None:
        """Add the tools to `server`; those that act only with `allow_actions`."""
        reading = (
            self.list_methods, self.explain, self.health, self.traces, self.trace, self.logs,
            self.outbox, self.outbox_message,
        )  # fmt: skip
        acting = (self.retry_message, self.drop_message, self.replay_message) if self._allow_actions else ()
        for tool in reading:
            server.add_tool(_reporting(tool), annotations=ToolAnnotations(read_only_hint=True))
        server.add_tool(_reporting(self.call), annotations=ToolAnnotations(read_only_hint=not self._allow_actions))
        for tool in acting:
            server.add_tool(_reporting(tool), annotations=ToolAnnotations(read_only_hint=False))

    async def list_methods(self, service: str = "") -> list[Json]:
        """List all methods, or those of one service ("gym"), with their scopes and whether they stream."""
        if service:
            _require_service(service)
        methods = all_methods().values()
        return [summary_of(each) for each in methods if service in ("", short_service_name(each.service))]

    async def explain(self, method: str) -> Json:
        """Describe a method such as "gym.GetGym".

        Returns its request fields with rules and a valid example, its errors, its policy with the source of each value,
        its callers and callees, and its worst case.
        """
        found = find_by_name(method)
        return {**description_of(found), **report_of(found, self._settings)}

    async def health(self) -> Json:
        """Return the status of each service, and the reason and the command that helps if one is not SERVING."""
        return {**await health_of_all(self._settings)}

    async def call(self, method: str, request: Json | None = None, timeout_s: float | None = None) -> Json:
        """Call a method with a JSON request, and return its answer and the trace id.

        A stream is read for 5 s or 20 messages, whichever ends first. Without --allow-actions, only methods without
        side effects can be called.
        """
        found = find_by_name(method)
        if not (self._allow_actions or found.is_read_only):
            raise ToolError(f"{found.short_name} may change data. `solo60 mcp --allow-actions` allows such calls.")
        traced = TracedCall(found, parse_request(found, json.dumps(request or {})), CallOptions(timeout_s=timeout_s))
        messages: list[Json] = []
        try:
            await self._run(traced, messages)
        except ServiceError as error:
            failure = {"error": service_error_as_json(error), "trace_id": traced.trace_id}
            raise ToolError(json.dumps(failure)) from None
        answer = {"messages": messages} if found.response_streaming else {"answer": messages[0]}
        return {**answer, "trace_id": traced.trace_id, "duration_ms": round(traced.duration_ms, 1)}

    async def _run(self, traced: TracedCall, messages: list[Json]) -> None:
        """Add the masked responses of a call to `messages`, and end a stream that has sent enough."""
        enough = asyncio.Event()

        def note(response: Message) -> None:
            messages.append(redacted(response))
            if len(messages) == MAX_MESSAGES:
                enough.set()

        running = asyncio.create_task(traced.run(self._channels, "solo60.mcp", note))
        if traced.method.response_streaming:
            waiting = asyncio.create_task(enough.wait())
            await asyncio.wait([running, waiting], timeout=STREAM_TIMEOUT_S, return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
            if not running.done():
                running.cancel()
                await asyncio.wait([running])
                return
        await running

    async def traces(
        self,
        method: str = "",
        service: str = "",
        caller: str = "",
        slower_than_ms: float = 0.0,
        number: int = 20,
        *,
        only_errors: bool = False,
    ) -> list[Json]:
        """List the latest traces, newest first: requests across services, with duration, calls and errors."""
        wanted = TraceFilter(
            method=method, service=service, caller=caller, slower_than_ms=slower_than_ms, only_errors=only_errors
        )
        return await asyncio.to_thread(self._traces, wanted, min(number, MAX_RESULTS))

    def _traces(self, wanted: TraceFilter, number: int) -> list[Json]:
        with closing(TraceReader(self._settings.local_span_dir)) as reader:
            reader.update()
            return [facts_of(each) for each in reader.page(wanted, number).traces]

    async def trace(self, id: str) -> list[Json]:  # noqa: A002 - the name of the argument in the tool
        """Return all spans of a trace id, or of a correlation id, each with its parent, time, error and attributes."""
        found = await asyncio.to_thread(find_traces, self._settings.local_span_dir, id.strip())
        if not found:
            raise ToolError(f'There is no trace "{id}". List the latest with the tool `traces`.')
        return [asdict(span) for spans in found for span in spans]

    async def logs(self, service: str = "", correlation_id: str = "", number: int = 50) -> list[Json]:
        """Return the last log lines of all services or of one, in time order, as JSON objects."""
        folder = self._settings.log_folder
        names = services_with_logs(folder)
        if service and service not in names:
            _require_service(service)
        of_request = LogFilter(correlation_id=correlation_id.strip())
        wanted = [service] if service else names
        lines = await asyncio.to_thread(last_lines, folder, wanted, min(number, MAX_RESULTS), of_request)
        return [{"service": line.service, **line.facts} for line in lines]

    async def outbox(self, service: str = "", status: str = "", number: int = 20) -> Json:
        """List the newest outbox messages of each service, or of one; `status` is pending, delivered or dead."""
        if service:
            _require_service(service)
        wanted = pb.ListMessagesRequest()
        if status:
            if status not in {*DeliveryStatus}:
                raise ToolError(f'status: "{status}" is not one of {", ".join(DeliveryStatus)}.')
            wanted.status = pb.OutboxStatus.Value(f"OUTBOX_STATUS_{status.upper()}")
        answers = await newest_of_all(self._channels, wanted, min(number, MAX_RESULTS))
        return {
            name: {"error": service_error_as_json(found)}
            if isinstance(found, ServiceError)
            else {"messages": list(map(message_as_dict, found))}
            for name, found in answers.items()
            if service in ("", name)
        }

    async def outbox_message(self, service: str, message_id: str) -> Json:
        """Return one outbox message with its request, in which personal data is masked."""
        answer = await self._administer(service, "GetMessage", pb.GetMessageRequest(message_id=message_id))
        return message_as_dict(answer)

    async def retry_message(self, service: str, message_id: str) -> Json:
        """Deliver a dead letter again now. The receiver does not repeat work that it has already done."""
        return message_as_dict(
            await self._administer(service, "RetryMessage", pb.RetryMessageRequest(message_id=message_id))
        )

    async def drop_message(self, service: str, message_id: str) -> Json:
        """Delete an undelivered message permanently."""
        return message_as_dict(
            await self._administer(service, "DropMessage", pb.DropMessageRequest(message_id=message_id))
        )

    async def replay_message(self, service: str, message_id: str) -> Json:
        """Deliver a delivered message again, as a new message. The receiver acts on it again."""
        return message_as_dict(
            await self._administer(service, "ReplayMessage", pb.ReplayMessageRequest(message_id=message_id))
        )

    async def _administer(self, service: str, method: str, request: Message) -> Message:
        stub = self._channels.stub(OutboxServiceStub, at=_require_service(service))
        answer: Message = await getattr(stub, method)(request)
        return answer


def _require_service(service: str) -> str:
    if service not in SERVICE_NAMES:
        raise ToolError(f'"{service}" is not a service. Services: {", ".join(SERVICE_NAMES)}.')
    return service


def _reporting(tool: Callable[..., Awaitable[Result]]) -> Callable[..., Awaitable[Result]]:
    """Return `tool` with every failure that its user can act on as an error of the tool."""

    @functools.wraps(tool)
    async def run(*arguments: Any, **named: Any) -> Result:
        try:
            return await tool(*arguments, **named)
        except ServiceError as error:
            raise ToolError(json.dumps({"error": service_error_as_json(error)})) from None
        except Failure as error:
            raise ToolError(str(error)) from None

    return run
