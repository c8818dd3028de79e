"""Engines: which one the tests' servers run on (`ENGINE=native pytest`), and what cannot hold on it."""

from __future__ import annotations

import pytest

from mesh.config import Settings
from mesh.engine import CAN_PUSH_BACK

ENGINE = Settings(_env_file=None).engine  # type: ignore[call-arg]  # pydantic-settings' own argument

needs_pushback = pytest.mark.skipif(
    ENGINE not in CAN_PUSH_BACK, reason='native sends no metadata that begins with "grpc-", so it cannot push back'
)

# There a call's clock starts when the loop takes the call up: what it has waited before that is not seen.
needs_queue_delay = pytest.mark.skipif(ENGINE == "native", reason="native does not tell how long a call has waited")
