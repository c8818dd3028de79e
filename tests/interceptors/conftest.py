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
    """Capture log events instead of printing them."""
    with capture_logs() as lines:
        yield lines
