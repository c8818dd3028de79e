"""Connect application for pyvoy, with its own call counter."""

from __future__ import annotations

from bench.servers.connect import Application

app = Application("connect_pyvoy")
