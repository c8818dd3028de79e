"""Troubles in the health of a running service."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc.aio
from grpc_health.v1 import health_pb2
from grpc_health.v1.health_pb2_grpc import HealthStub

from mesh.serving.health import TROUBLE_PREFIX

if TYPE_CHECKING:
    from tests.support.serving import MeshForTests


async def troubles_of(mesh: MeshForTests, service: str) -> list[str]:
    """Return the troubles that the health of a service lists, in words."""
    async with grpc.aio.insecure_channel(mesh.settings.url_of(service)) as channel:
        listed = await HealthStub(channel).List(health_pb2.HealthListRequest())  # type: ignore[attr-defined]  # not in its types yet
    return [name.removeprefix(TROUBLE_PREFIX) for name in listed.statuses if name.startswith(TROUBLE_PREFIX)]
