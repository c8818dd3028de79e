"""Definition of the auth service. No method is implemented, so every call fails with UNIMPLEMENTED."""

from __future__ import annotations

from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from mesh.serving.service import Service
from solo60.auth.v1.auth_pb2 import DESCRIPTOR
from solo60.auth.v1.auth_pb2_grpc import AuthServiceServicer, add_AuthServiceServicer_to_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from mesh.serving.service import Runtime


@asynccontextmanager
async def open_auth(_runtime: Runtime) -> AsyncIterator[AuthServiceServicer]:
    """Yield the generated servicer, which implements no method."""
    yield AuthServiceServicer()  # type: ignore[abstract]  # not abstract at run time; the interceptors answer each call first


SERVICE = Service(
    name="auth",
    descriptor=DESCRIPTOR.services_by_name["AuthService"],
    add_to_server=add_AuthServiceServicer_to_server,
    open=open_auth,
    migrations=Path(__file__).parent / "migrations",
)
