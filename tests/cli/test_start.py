"""Start of the `solo60` command: Ctrl-C while its code is loaded."""

from __future__ import annotations

import subprocess
import sys

import pytest

from mesh.config import child_environment

# Sends SIGINT to itself when a module is imported, as Ctrl-C does at that moment.
INTERRUPTED = """
import signal, sys
class Interrupting:
    def find_spec(self, name, *_):
        if name == {module!r}:
            signal.raise_signal(signal.SIGINT)
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.meta_path.insert(0, Interrupting())
sys.argv = ["solo60", {verb!r}]
from cli.start import main
main()
"""


@pytest.mark.parametrize(
    ("module", "verb", "exit_code"),
    [("typer", "up", 0), ("cli.running_mesh", "up", 0), ("local.supervisor", "up", 0), ("typer", "health", 130)],
)
def test_ctrl_c_during_the_imports_ends_without_traceback(module: str, verb: str, exit_code: int) -> None:
    """Ctrl-C while the code of a verb is loaded ends `up` with 0, and other verbs with 130; nothing is printed."""
    program = INTERRUPTED.format(module=module, verb=verb)
    done = subprocess.run(
        [sys.executable, "-c", program],
        check=False,
        env=child_environment(),
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert (done.returncode, done.stdout, done.stderr) == (exit_code, "", "")
