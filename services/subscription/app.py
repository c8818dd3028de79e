"""The subscription service as the mesh runs it: a contract that nothing answers yet; calls end with UNIMPLEMENTED."""

from __future__ import annotations

from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from mesh.service import Service
from solo60.subscription.v1.subscription_pb2 import DESCRIPTOR
from solo60.subscription.v1.subscription_pb2_grpc import (
    SubscriptionServiceServicer,
    add_SubscriptionServiceServicer_to_server,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from mesh.service import Runtime


@asynccontextmanager
async def open_subscription(_runtime: Runtime) -> AsyncIterator[SubscriptionServiceServicer]:
    """Yield the servicer as it is generated: it implements no method yet."""
    yield SubscriptionServiceServicer()  # type: ignore[abstract]  # at run time the generated class is whole, and the chain answers before it


SERVICE = Service(
    name="subscription",
    descriptor=DESCRIPTOR.services_by_name["SubscriptionService"],
    add_to_server=add_SubscriptionServiceServicer_to_server,
    open=open_subscription,
    migrations=Path(__file__).parent / "migrations",
)
