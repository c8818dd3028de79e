"""Definition of a service for the mesh, and the runtime that the mesh passes to it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractAsyncContextManager
    from datetime import datetime
    from pathlib import Path

    import grpc.aio
    from google.protobuf.descriptor import ServiceDescriptor
    from grpc_interceptor import AsyncServerInterceptor
    from starlette.types import ASGIApp

    from mesh.clock import Clock
    from mesh.config import Settings
    from mesh.data.database import Database
    from mesh.serving.channel import Channels


@dataclass(frozen=True, slots=True)
class Runtime:
    """Resources that the mesh passes to a service when it opens.

    `stopping` is set when the process has begun to stop and has notified its callers. Streams without an end of their
    own must end then, so that the stop does not wait for them. `troubles` are sentences for the operator. The service
    adds and removes troubles, and its health lists each as "trouble/<sentence>". Troubles must not contain secrets.

    `timers` are the service's periodic jobs that a time in its tables makes due, by the name of the job. Each function
    returns the time when its job has work next, or None. `solo60 clock advance` stops at that time until the job is
    done. Outbox messages need no timer.
    """

    settings: Settings
    database: Database
    channels: Channels
    clock: Clock
    stopping: asyncio.Event
    troubles: set[str] = field(default_factory=set)
    timers: dict[str, Callable[[], Awaitable[datetime | None]]] = field(default_factory=dict)

    @property
    def now(self) -> Callable[[], datetime]:
        """Function that returns the business time in UTC."""
        return self.clock.now

    @property
    def database_url(self) -> str:
        """The URL of the database, for a connection outside the pool."""
        url = self.settings.database_url
        assert url is not None  # noqa: S101 - a process without DATABASE_URL does not start
        return url.get_secret_value()


@dataclass(frozen=True, slots=True)
class Service:
    """Definition of one service: its contract, the factory of its servicer, and its migrations.

    `open` yields the servicer. Background work that `open` starts must end with its context. `interceptors` are the
    service's own, outermost first, written for the grpc-interceptor package. The mesh's interceptors run outside of
    them. `http` returns the application that is served at HTTP_ADDRESS, if the service has one: a
    `starlette.routing.Router`.
    """

    name: str
    descriptor: ServiceDescriptor
    add_to_server: Callable[[Any, grpc.aio.Server], None]
    open: Callable[[Runtime], AbstractAsyncContextManager[Any]]
    migrations: Path
    interceptors: tuple[AsyncServerInterceptor, ...] = ()
    http: Callable[[Runtime], ASGIApp] | None = None
