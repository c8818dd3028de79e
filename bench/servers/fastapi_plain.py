"""FastAPI application for plain uvicorn."""

from __future__ import annotations

from bench.servers.json_app import json_app

app = json_app("fastapi_plain")
