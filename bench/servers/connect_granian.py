"""The Connect application whose calls are counted under the name of granian, which serves `app`."""

from __future__ import annotations

from bench.servers.connect import Application

app = Application("connect_granian")
