"""Engine of the tests' servers (`ENGINE=native pytest`), and markers for tests that it does not support."""

from __future__ import annotations

import pytest

from mesh.config import Settings
from mesh.serving.engine import SUPPORTS_PUSHBACK

ENGINE = Settings(_env_file=None).engine  # type: ignore[call-arg]  # pydantic-settings' own argument

needs_pushback = pytest.mark.skipif(
    ENGINE not in SUPPORTS_PUSHBACK, reason='native sends no metadata that begins with "grpc-", so it cannot push back'
)

# The native engine starts a call's clock when the event loop takes the call, so earlier waiting is not measured.
needs_queue_delay = pytest.mark.skipif(ENGINE == "native", reason="native does not tell how long a call has waited")
