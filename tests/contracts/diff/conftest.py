"""Fixtures for tests with an echo server."""

from __future__ import annotations

from tests.support.echo_server import echo, serve_echo

__all__ = ["echo", "serve_echo"]
