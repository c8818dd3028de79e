"""Service: what the mesh needs to know of one in order to run it, and what it gives it to run with."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager
    from datetime import datetime
    from pathlib import Path

    import grpc.aio
    from google.protobuf.descriptor import ServiceDescriptor
    from grpc_interceptor import AsyncServerInterceptor

    from mesh.channel import Channels
    from mesh.config import Settings
    from mesh.database import Database


@dataclass(frozen=True, slots=True)
class Runtime:
    """What a service is given when it opens.

    `stopping` is set when the process has begun to stop and callers know it: streams without an end of their own end
    then, so that nobody waits for them. `troubles` are sentences for the operator:
    the service adds and removes them, and its health lists each as "trouble/<sentence>". They hold no secrets.
    """

    settings: Settings
    database: Database
    channels: Channels
    now: Callable[[], datetime]
    stopping: asyncio.Event
    troubles: set[str] = field(default_factory=set)

    @property
    def database_url(self) -> str:
        """The URL of the database, for a connection apart from its pool."""
        url = self.settings.database_url
        assert url is not None  # noqa: S101 - there is a database
        return url.get_secret_value()


@dataclass(frozen=True, slots=True)
class Service:
    """One service: its contract, how its servicer is made, and its migrations.

    `open` yields the servicer; what it starts beside it (background work) ends when its context ends. `interceptors`
    are the service's own, written for the grpc-interceptor package; they run within the mesh's, the first outermost.
    """

    name: str
    descriptor: ServiceDescriptor
    add_to_server: Callable[[Any, grpc.aio.Server], None]
    open: Callable[[Runtime], AbstractAsyncContextManager[Any]]
    migrations: Path
    interceptors: tuple[AsyncServerInterceptor, ...] = ()
