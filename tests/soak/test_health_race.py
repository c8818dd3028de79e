from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from mesh.config import child_environment
from tests.soak.health_race import QUIET

pytestmark = pytest.mark.soak

WATCHES_S = 60
PATIENCE_S = 60


def watch(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the reproducer to its end, whichever that is."""
    return subprocess.run(
        [sys.executable, "-m", "tests.soak.health_race", str(WATCHES_S), *arguments],
        env={**child_environment(), **QUIET},
        capture_output=True,
        text=True,
        timeout=WATCHES_S + PATIENCE_S,
        check=False,
    )


def test_channels_with_our_options_survive_the_ends_of_their_connections() -> None:
    """Some twenty thousand connections end while two channels of one process watch the health of each server."""
    watched = watch()

    assert (watched.returncode, watched.stdout) == (0, "survived\n"), watched.stderr


def test_grpcio_still_crashes_where_channels_share_subchannels() -> None:
    """The test above proves something, and the option is still needed: without it the process dies."""
    assert watch("--shared").returncode == -signal.SIGSEGV
