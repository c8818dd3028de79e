"""Fixtures for the attacks."""

from __future__ import annotations

from tests.support.echo_server import serve_echo

__all__ = ["serve_echo"]
