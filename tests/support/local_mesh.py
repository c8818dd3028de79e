"""Mesh of real processes: `solo60 up` on free ports with its own data folder, and the command line for it.

    def test_x(local_mesh: LocalMesh) -> None:          # one mesh for the whole session
        done = local_mesh.solo60("health", "--json")

A test that stops or kills its mesh creates its own: `with LocalMesh.in_new_folder() as mesh: mesh.up()`.
"""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import psutil
import pytest
from grpc_health.v1 import health_pb2

from contracts.services import SERVICE_NAMES, SERVICES
from local.postgres.server import remove_data
from mesh.config import Settings, child_environment
from mesh.serving.health_probe import CHECK_PATH, UNREACHABLE
from tests.support.folders import folder_for_all
from tests.support.ports import free_ports
from tests.support.serving import DEADLINE_FACTOR, NO_SHEDDING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TIMEOUT_S = 60.0
PROBE_TIMEOUT_S = 2.0
SOLO60 = Path(sys.executable).with_name("solo60")
UP_MESSAGE = "Ctrl-C stops everything."


class LocalMesh:
    """Data folder and ports of a mesh, and its `solo60 up` processes."""

    def __init__(self, folder: Path) -> None:
        self.data_dir = folder / "data"
        *ports, smtp_port, console_port = free_ports(len(SERVICE_NAMES) + 2)
        self.settings_by_name: dict[str, object] = {
            "data_dir": self.data_dir,
            "smtp_url": f"smtp://127.0.0.1:{smtp_port}",
            "console_address": f"127.0.0.1:{console_port}",
            "drain_wait_s": 0.1,
            "deadline_factor": DEADLINE_FACTOR,
            **NO_SHEDDING,
            **{f"{name}_service_url": f"127.0.0.1:{port}" for name, port in zip(SERVICE_NAMES, ports, strict=True)},
        }
        self.settings = self.settings_with()
        self._output = folder / "up.out"
        self._processes: list[subprocess.Popen[bytes]] = []

    @property
    def console_url(self) -> str:
        """Address of the console, without a slash at its end."""
        return f"http://{self.settings.console_listen_address}"

    def settings_with(self, **changes: object) -> Settings:
        """Return the settings of this mesh with `changes`."""
        return Settings(_env_file=None, **{**self.settings_by_name, **changes})  # type: ignore[call-arg,arg-type]  # any settings

    @classmethod
    @contextmanager
    def in_new_folder(cls) -> Iterator[LocalMesh]:
        """Create a stopped mesh in a folder that user nobody can enter; stop and erase the mesh at the end."""
        with folder_for_all() as folder:
            mesh = cls(folder)
            try:
                yield mesh
            finally:
                mesh.close()
                remove_data(mesh.settings.postgres_folder)

    def start(self, *options: str, console: bool = False, **settings: object) -> subprocess.Popen[bytes]:
        """Start `solo60 up` without waiting; `output` holds its output."""
        options = options if console else ("--no-console", *options)
        with self._output.open("wb") as output:
            process = subprocess.Popen(
                [SOLO60, "up", *options], env=self._environment(settings), stdout=output, stderr=subprocess.STDOUT
            )
        self._processes.append(process)
        return process

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """Latest `solo60 up` process."""
        return self._processes[-1]

    def up(self, *options: str, console: bool = False, **settings: object) -> subprocess.Popen[bytes]:
        """Start `solo60 up` and wait until it reports that the mesh is up."""
        process = self.start(*options, console=console, **settings)
        self.wait_until_up()
        return process

    def wait_until_up(self) -> None:
        """Wait until the latest `solo60 up` reports that the mesh is up."""
        self.wait_for_output(UP_MESSAGE)

    def wait_for_output(self, text: str, start: int = 0) -> None:
        """Wait until the latest `solo60 up` prints `text` after the first `start` characters.

        Fail with the whole output if it ends before, or after TIMEOUT_S.
        """
        give_up_at = time.monotonic() + TIMEOUT_S
        while text not in self.output[start:]:
            assert self.is_running or text in self.output[start:], self.output
            assert time.monotonic() < give_up_at, self.output
            time.sleep(0.02)

    @property
    def is_running(self) -> bool:
        """Whether the latest `solo60 up` is running."""
        return bool(self._processes) and self.process.poll() is None

    def statuses(self) -> dict[str, str]:
        """Return the status of each service, by a health check over gRPC.

        `solo60 health` would start a process for each check, which costs a second of CPU time.
        """
        return {name: self._status_of(name) for name in SERVICE_NAMES}

    def is_serving(self) -> bool:
        """Whether all services are SERVING."""
        return set(self.statuses().values()) == {"SERVING"}

    def _status_of(self, name: str) -> str:
        options = [("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1)]
        with grpc.insecure_channel(self.settings.url_of(name), options) as channel:
            check = channel.unary_unary(
                CHECK_PATH,
                request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
                response_deserializer=health_pb2.HealthCheckResponse.FromString,
            )
            request = health_pb2.HealthCheckRequest(service=SERVICES[name].full_name)
            try:
                answer = check(request, timeout=PROBE_TIMEOUT_S)
            except grpc.RpcError:
                return UNREACHABLE
        return health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)

    @property
    def output(self) -> str:
        """Output of the latest `solo60 up` so far."""
        return self._output.read_text()

    def solo60(self, *arguments: str, **settings: object) -> subprocess.CompletedProcess[str]:
        """Run a command to its end; settings by field name override those of the mesh."""
        return subprocess.run(
            [SOLO60, *arguments],
            check=False,
            env=self._environment(settings),
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
        )

    def close(self) -> None:
        """Stop all running processes."""
        for process in self._processes:
            if process.poll() is None:
                process.terminate()
        for process in self._processes:
            process.wait(TIMEOUT_S)

    def _environment(self, settings: dict[str, object]) -> dict[str, str]:
        return child_environment(**{**self.settings_by_name, **settings})


@pytest.fixture(scope="session")
def local_mesh() -> Iterator[LocalMesh]:
    """Start one mesh for the whole session, for tests that leave it running."""
    with LocalMesh.in_new_folder() as mesh:
        mesh.up()
        yield mesh


@pytest.fixture
def stopped_mesh() -> Iterator[LocalMesh]:
    """Create a mesh without starting it."""
    with LocalMesh.in_new_folder() as mesh:
        yield mesh


def process_tree_of(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """Return a process and all its descendants."""
    parent = psutil.Process(process.pid)
    return [parent, *parent.children(recursive=True)]


def process_of(mesh: LocalMesh, service: str) -> psutil.Process:
    """Return the process of a service."""
    (found,) = [each for each in process_tree_of(mesh.process) if f"services.{service}" in _command_of(each)]
    return found


def _command_of(process: psutil.Process) -> list[str]:
    """Return the command line of a process, or [] if the process has ended."""
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:
        return []


def all_gone(processes: list[psutil.Process]) -> bool:
    """Return whether all of these processes have ended."""
    return not any(_is_running(process) for process in processes)


def _is_running(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:  # The process ended between the two calls.
        return False


def wait_for(condition: Callable[[], object]) -> None:
    """Wait until `condition()` is true; fail after TIMEOUT_S."""
    give_up_at = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < give_up_at, "the condition did not become true in time"
        time.sleep(0.02)
