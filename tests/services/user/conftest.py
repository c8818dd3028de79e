"""Fixtures: the user service."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from services.user.app import SERVICE
from solo60.user.v1.user_pb2_grpc import UserServiceStub

if TYPE_CHECKING:
    from solo60.user.v1.user_pb2_grpc import UserServiceAsyncStub
    from tests.support.serving import MeshForTests, Serve


@pytest.fixture
async def mesh(serve: Serve) -> MeshForTests:
    """Run the user service."""
    return await serve(SERVICE)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_users(serve_module: Serve) -> UserServiceAsyncStub:
    """Serve once for all calls that are rejected and change nothing."""
    return (await serve_module(SERVICE)).stub(UserServiceStub)


@pytest.fixture
def users(mesh: MeshForTests) -> UserServiceAsyncStub:
    """Return a stub with every scope."""
    return mesh.stub(UserServiceStub)
