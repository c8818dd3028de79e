from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from mesh.config import child_environment
from tests.soak.health_race import QUIET

pytestmark = pytest.mark.soak

WATCHES_S = 60
TIMEOUT_S = 60


def watch(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the reproducer until it exits or crashes."""
    return subprocess.run(
        [sys.executable, "-m", "tests.soak.health_race", str(WATCHES_S), *arguments],
        env={**child_environment(), **QUIET},
        capture_output=True,
        text=True,
        timeout=WATCHES_S + TIMEOUT_S,
        check=False,
    )


def test_channels_with_our_options_survive_closed_connections() -> None:
    """A process with our channel options survives a minute of closed connections during health watches."""
    watched = watch()

    assert (watched.returncode, watched.stdout) == (0, "survived\n"), watched.stderr


def test_grpcio_still_crashes_with_shared_subchannels() -> None:
    """A process with shared subchannels dies of SIGSEGV, so the option of the local subchannel pool is still needed."""
    assert watch("--shared").returncode == -signal.SIGSEGV
