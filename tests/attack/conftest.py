"""Fixtures for the attacks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.echo_server import serve_echo
from tests.support.local_mesh import LocalMesh

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["serve_echo"]

# pytest then shows the values of a failed assertion in an attack.
pytest.register_assert_rewrite("tests.attack.attacks")


@pytest.fixture(scope="package")
def attacked_mesh() -> Iterator[LocalMesh]:
    """Start all services as processes of their own, for the attacks of this package and no other test."""
    with LocalMesh.in_new_folder() as mesh:
        mesh.up(log_requests=True, rate_limit_factor=1000)
        yield mesh
