"""Definition of the gym service."""

from __future__ import annotations

from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from mesh.serving.service import Service
from services.gym.servicer import GymServicer
from services.gym.store import GymStore
from solo60.gym.v1.gym_pb2 import DESCRIPTOR
from solo60.gym.v1.gym_pb2_grpc import add_GymServiceServicer_to_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from mesh.serving.service import Runtime


@asynccontextmanager
async def open_gym(runtime: Runtime) -> AsyncIterator[GymServicer]:
    """Yield the servicer. The gym service has no background tasks."""
    yield GymServicer(GymStore(runtime.database), now=runtime.now)


SERVICE = Service(
    name="gym",
    descriptor=DESCRIPTOR.services_by_name["GymService"],
    add_to_server=add_GymServiceServicer_to_server,
    open=open_gym,
    migrations=Path(__file__).parent / "migrations",
)
