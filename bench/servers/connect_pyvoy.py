"""The Connect application whose calls are counted under the name of pyvoy, which serves `app`."""

from __future__ import annotations

from bench.servers.connect import Application

app = Application("connect_pyvoy")
