"""gRPC server for one service on one address, with its outbox, all server interceptors, health and reflection."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grpc_health.v1 import health_pb2
from grpc_health.v1.health_pb2_grpc import add_HealthServicer_to_server
from opentelemetry.instrumentation.grpc import filters

from interceptors import (
    ServerAccessLog,
    ServerApiKey,
    ServerContext,
    ServerCriticality,
    ServerDeadline,
    ServerDeprecation,
    ServerErrors,
    ServerIdempotencyKey,
    ServerIdle,
    ServerMetadataLimit,
    ServerMetrics,
    ServerRateLimit,
    ServerShedding,
    ServerTracing,
    ServerValidation,
)
from mesh.clock import SYSTEM_CLOCK
from mesh.config import SettingsError
from mesh.serving.engine import FLUSHES_BEFORE_CLOSE, KEEPS_CONTEXT, SUPPORTS_PUSHBACK, RunningCalls, new_server
from mesh.serving.reflection import REFLECTION_SERVICES, add_reflection_to_server
from mesh.telemetry.current import ServerTelemetry, current_registry, current_telemetry, current_tracers
from mesh.telemetry.setup import access_log_writer
from mesh.telemetry.tracebacks import traceback_text
from solo60.mesh.v1 import outbox_pb2
from solo60.mesh.v1.outbox_pb2_grpc import add_OutboxServiceServicer_to_server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from prometheus_client import CollectorRegistry

    from interceptors import Keyring, ServerInterceptor
    from mesh.clock import Clock
    from mesh.config import Settings
    from mesh.serving.engine import Engine
    from mesh.serving.health import Health
    from mesh.serving.service import Service
    from solo60.mesh.v1.outbox_pb2_grpc import OutboxServiceServicer

HEALTH_SERVICE = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
OUTBOX_SERVICE = outbox_pb2.DESCRIPTOR.services_by_name["OutboxService"].full_name
POLLED_METHODS = frozenset({f"{OUTBOX_SERVICE}/GetSchedule", f"{OUTBOX_SERVICE}/GetBacklog"})
GRPC_SERVICES = frozenset({HEALTH_SERVICE, *REFLECTION_SERVICES})
IS_GRPC_SERVICE = filters.any_of(*(filters.service_name(service) for service in GRPC_SERVICES))


def server_interceptors(
    settings: Settings,
    keyring: Callable[[], Keyring],
    registry: CollectorRegistry | None = None,
    clock: Clock = SYSTEM_CLOCK,
) -> list[ServerInterceptor]:
    """Return the interceptors of every server, outermost first; their order is defined only here."""
    return [
        ServerErrors(
            pushback=settings.engine in SUPPORTS_PUSHBACK,
            send_undeclared=settings.strict_contracts,
            describe=traceback_text,
        ),
        ServerContext(),
        ServerMetrics(registry or current_registry(), GRPC_SERVICES),
        ServerMetadataLimit(),
        ServerShedding(GRPC_SERVICES, settings.shed_queue_delay_s, settings.shed_least_concurrency),
        ServerCriticality(),
        ServerAccessLog(
            log_requests=settings.log_requests,
            quiet_services=frozenset({HEALTH_SERVICE}),
            quiet_methods=POLLED_METHODS,
            write=access_log_writer(),
        ),
        ServerTracing(
            current_tracers(),
            filters.negate(IS_GRPC_SERVICE),
            old_names_too=settings.emits_old_rpc_names,
            slow_s=settings.late_recording_s,
        ),
        ServerApiKey(keyring, open_services(settings), wall_clock=clock.time_s),
        ServerDeadline(settings.deadline_factor),
        ServerIdle(settings.deadline_factor),
        ServerRateLimit(settings.rate_limit_factor),
        ServerDeprecation(),
        ServerIdempotencyKey(),
        ServerValidation(),
    ]


def open_services(settings: Settings) -> frozenset[str]:
    """Return the services of gRPC itself that may be called without a key according to the settings."""
    opened = {HEALTH_SERVICE: settings.health_open, **dict.fromkeys(REFLECTION_SERVICES, settings.reflection_open)}
    return frozenset(service for service, is_open in opened.items() if is_open)


class MeshServer:
    """gRPC server of one service; `port` is the port that it listens on."""

    def __init__(
        self,
        service: Service,
        servicer: object,
        outbox: OutboxServiceServicer,
        health: Health,
        interceptors: Iterable[ServerInterceptor],
        engine: Engine = "grpcio",
    ) -> None:
        self._service = service
        own = list(interceptors)
        self._calls = None if engine in FLUSHES_BEFORE_CLOSE else RunningCalls()
        if self._calls is not None:
            own.insert(0, self._calls)
        telemetry = current_telemetry()
        if telemetry is not None and engine not in KEEPS_CONTEXT:
            own.insert(0, ServerTelemetry(telemetry))
        self._server = new_server(engine, own, service.interceptors)
        service.add_to_server(servicer, self._server)
        add_OutboxServiceServicer_to_server(outbox, self._server)
        add_HealthServicer_to_server(health.servicer, self._server)
        own_names = [service.descriptor.full_name, OUTBOX_SERVICE]
        add_reflection_to_server((*own_names, HEALTH_SERVICE), self._server)
        # Every service that reflection lists has a health entry.
        health.add_services(ready=own_names, alive=GRPC_SERVICES)
        self.port = 0

    async def start(self, address: str) -> None:
        """Listen on `address` ("host:port"); raise SettingsError if that is not possible."""
        try:
            self.port = self._server.add_insecure_port(address)
        except RuntimeError:
            name = self._service.name.upper()
            raise SettingsError(
                f"{name}_SERVICE_URL: {address} is in use or is not an address of this machine."
            ) from None
        await self._server.start()

    async def stop(self, grace_s: float) -> None:
        """Reject new calls, let running ones finish for `grace_s` seconds, then cancel the rest."""
        if self._calls is not None:
            grace_s = await self._calls.drain(grace_s)
        await self._server.stop(grace_s)
