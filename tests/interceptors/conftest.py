"""Fixtures for the interceptors' tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from tests.support.echo_server import echo, serve_echo

if TYPE_CHECKING:
    from collections.abc import Iterator

    from structlog.typing import EventDict

__all__ = ["echo", "logs", "serve_echo"]


@pytest.fixture(autouse=True)
def logs() -> Iterator[list[EventDict]]:
    """Collect what is logged; nothing is printed."""
    with capture_logs() as lines:
        yield lines
