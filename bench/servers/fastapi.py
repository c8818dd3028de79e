"""FastAPI application for uvicorn[standard]."""

from __future__ import annotations

from bench.servers.json_app import json_app

app = json_app("fastapi")
