"""Tests of the commands and examples in README.md and docs/, in a fresh clone."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psutil
import pytest

from contracts.services import SERVICES, default_port_of
from local.supervised_settings import HTTP_PORT_DISTANCE, METRICS_PORT_DISTANCE
from mesh.setting_types import COLLECTOR_PORT
from tests.support.node import require_node
from tests.support.ports import free_ports
from tests.support.serving import DEADLINE_FACTOR
from tests.support.sources import ROOT, copy_sources

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.system

README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "README.md", *sorted(ROOT.glob("docs/*.md"))))
# The fixture runs `make run`, `make test` would run this module again, and `make bench` takes minutes.
RUN_ELSEWHERE = {"make run", "make test", "make bench"}
BLOCKS = (re.sub(r"(?m)^ +", "", found).strip() for found in re.findall(r"```sh\n(.*?)```", PAGES, re.DOTALL))
# dict.fromkeys runs a block once even if several pages show it.
COMMANDS = [block for block in dict.fromkeys(BLOCKS) if block not in RUN_ELSEWHERE]
INBOX_PORT = 50025
CONSOLE_PORT = 5500
TIMEOUT_S = 300


@dataclass(frozen=True, slots=True)
class Clone:
    """Fresh clone with a running `make run`."""

    folder: Path
    environment: dict[str, str]
    ports: dict[int, int]
    output: str

    def run(self, block: str) -> subprocess.CompletedProcess[str]:
        """Run a block of commands in a new shell, with the documented ports replaced by this mesh's ports."""
        for documented, actual in self.ports.items():
            block = block.replace(f":{documented}", f":{actual}")
        return subprocess.run(
            ["bash", "-euo", "pipefail", "-c", block],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clone]:
    """Copy the sources, run `make run` there, and wait until the mesh is up."""
    folder = tmp_path_factory.mktemp("clone") / "solo60"
    copy_sources(folder)
    documented = [INBOX_PORT, *map(default_port_of, SERVICES.values())]
    ports = dict(zip(documented, free_ports(len(documented)), strict=True))
    ports[COLLECTOR_PORT], ports[CONSOLE_PORT] = free_ports(2)
    above = {
        port + distance: ports[port] + distance
        for port in documented[1:]
        for distance in (METRICS_PORT_DISTANCE, HTTP_PORT_DISTANCE)
    }
    environment = {
        **{name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"},
        "PATH": os.pathsep.join(part for part in os.environ["PATH"].split(os.pathsep) if ".venv" not in part),
        "DEADLINE_FACTOR": str(DEADLINE_FACTOR),
        "CONSOLE_ADDRESS": f"127.0.0.1:{ports[CONSOLE_PORT]}",
        "SMTP_URL": f"smtp://127.0.0.1:{ports[INBOX_PORT]}",
        **{
            f"{name.upper()}_SERVICE_URL": f"127.0.0.1:{ports[default_port_of(service)]}"
            for name, service in SERVICES.items()
        },
    }
    with subprocess.Popen(
        ["make", "run"],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as running:
        try:
            yield Clone(folder, environment, ports | above, read_until(running, "Ctrl-C"))
            os.killpg(running.pid, signal.SIGINT)
            running.communicate(timeout=60)
        finally:
            if running.poll() is None:
                os.killpg(running.pid, signal.SIGKILL)
            assert not processes_of(folder)
            # Root's database is outside the clone.
            subprocess.run(["make", "reset"], cwd=folder, env=environment, check=True)


def test_make_run_reaches_the_end_of_the_demo(clone: Clone) -> None:
    """In a fresh clone, `make run` sets everything up and runs the demo up to its two rejections."""
    assert "SLOT_TAKEN" in clone.output
    assert "UNAUTHENTICATED" in clone.output


@pytest.mark.parametrize("block", COMMANDS, ids=lambda block: block.splitlines()[-1][:60])
def test_every_command_works_as_written(clone: Clone, block: str) -> None:
    """Every shell block in README.md and docs/ succeeds while the mesh runs."""
    if "npm " in block:
        require_node()
    done = clone.run(block)

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(("language", "name"), [("python", "call_a_service.py"), ("js", "call_a_service.mjs")])
def test_the_readme_shows_the_example_files(language: str, name: str) -> None:
    """README.md shows each example exactly as in its file."""
    assert f"```{language}\n{(ROOT / 'examples' / name).read_text(encoding='utf-8')}```" in README


def test_the_example_prints_the_typed_error(clone: Clone) -> None:
    """The Python example prints the code and reason of the error that it catches."""
    done = clone.run("SERVICE_API_KEY_FILE=.data/keys/operator .venv/bin/python examples/call_a_service.py")

    assert done.stdout.startswith("NOT_FOUND GYM_NOT_FOUND"), done.stderr


def read_until(running: subprocess.Popen[str], text: str) -> str:
    """Return the output up to the first line with `text`; fail with the whole output if the process ends earlier."""
    seen = ""
    assert running.stdout is not None
    with killed_after(TIMEOUT_S, running):
        for line in running.stdout:
            seen += line
            if text in line:
                return seen
    pytest.fail(f"`make run` ended early:\n{seen}")


@contextmanager
def killed_after(timeout_s: float, running: subprocess.Popen[str]) -> Iterator[None]:
    """Kill the process group of `running` after `timeout_s`, which ends its output and so a blocked read."""
    timer = threading.Timer(timeout_s, os.killpg, (running.pid, signal.SIGKILL))
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def processes_of(folder: Path) -> list[psutil.Process]:
    """Return all processes with `folder` in their command line."""
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if any(str(folder) in part for part in process.info["cmdline"] or ())
    ]
