"""Fixtures: the gym service."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from services.gym.app import SERVICE
from solo60.gym.v1.gym_pb2_grpc import GymServiceStub

if TYPE_CHECKING:
    from solo60.gym.v1.gym_pb2_grpc import GymServiceAsyncStub
    from tests.support.serving import MeshForTests, Serve


@pytest.fixture
async def mesh(serve: Serve) -> MeshForTests:
    """Run the gym service."""
    return await serve(SERVICE)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_gyms(serve_module: Serve) -> GymServiceAsyncStub:
    """Serve once for all tests of a module that accept the gyms of other tests."""
    return (await serve_module(SERVICE)).stub(GymServiceStub)


@pytest.fixture
def gyms(mesh: MeshForTests) -> GymServiceAsyncStub:
    """Return a stub with every scope."""
    return mesh.stub(GymServiceStub)
