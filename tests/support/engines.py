"""Engines: which one the tests' servers run on (`ENGINE=native pytest`), and what cannot hold on it."""

from __future__ import annotations

import pytest

from mesh.config import Settings
from mesh.engine import CAN_PUSH_BACK

ENGINE = Settings(_env_file=None).engine  # type: ignore[call-arg]  # pydantic-settings' own argument

needs_pushback = pytest.mark.skipif(
    ENGINE not in CAN_PUSH_BACK, reason='native sends no metadata that begins with "grpc-", so it cannot push back'
)
