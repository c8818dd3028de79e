from __future__ import annotations

import socket
import subprocess
import time
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from cli.operator import EXIT_TIMEOUT_S, TRACE_SERVICE_NAME
from local.keys import ensure_local_keys
from mesh.config import Settings, child_environment
from mesh.telemetry.setup import EXIT_TIMEOUT_S as SERVICE_EXIT_TIMEOUT_S
from mesh.telemetry.setup import set_up_tracing
from tests.support.local_mesh import SOLO60
from tests.support.ports import free_ports

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# Tolerance for a busy machine. With it, the limit is below the 5 s of a service and the 10 s of the SDK.
BUSY_MACHINE_S = 3.0


@pytest.fixture(params=["refuses", "is silent"])
def collector(request: pytest.FixtureRequest) -> Iterator[str]:
    """Return the endpoint of a collector that refuses connections or never answers."""
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        port = silent.getsockname()[1] if request.param == "is silent" else free_ports(1)[0]
        yield f"http://127.0.0.1:{port}"


def call(folder: Path, **settings: object) -> subprocess.CompletedProcess[str]:
    """Call a service without a running mesh, in a new process."""
    own: dict[str, object] = {"data_dir": folder, "gym_service_url": f"127.0.0.1:{free_ports(1)[0]}", **settings}
    ensure_local_keys(Settings(_env_file=None, data_dir=folder))  # type: ignore[call-arg]  # pydantic-settings' own argument
    command = [str(SOLO60), "call", "gym.ListGyms", "--timeout", "0.1", "--json"]
    return subprocess.run(command, check=False, env=child_environment(**own), capture_output=True, text=True)


def test_an_unreachable_collector_is_reported_in_one_line(collector: str, tmp_path: Path) -> None:
    """A command with an unreachable collector prints one line about it, instead of one for each attempt of the SDK."""
    done = call(tmp_path, otel_exporter_otlp_endpoint=collector)

    assert done.stderr == f"OTEL_EXPORTER_OTLP_ENDPOINT: traces do not reach {collector}.\n"
    assert '"error"' in done.stdout


def test_an_unreachable_collector_does_not_delay_a_command(collector: str) -> None:
    """Shutting down tracing waits at most EXIT_TIMEOUT_S for an unreachable collector, which is under a second."""
    settings = Settings(_env_file=None, otel_exporter_otlp_endpoint=collector)  # type: ignore[call-arg]  # pydantic-settings' own argument
    tracers = set_up_tracing(settings, TRACE_SERVICE_NAME, EXIT_TIMEOUT_S)
    tracers.get_tracer("test").start_span("span").end()

    began = time.monotonic()
    tracers.shutdown()

    assert time.monotonic() - began < EXIT_TIMEOUT_S + BUSY_MACHINE_S < SERVICE_EXIT_TIMEOUT_S
    assert EXIT_TIMEOUT_S < 1
    assert [exporter.trouble_at_exit for exporter in tracers.exporters] == [
        f"OTEL_EXPORTER_OTLP_ENDPOINT: traces do not reach {collector}."
    ]


def test_a_call_is_made_when_its_traces_cannot_be_stored(tmp_path: Path) -> None:
    """A call with an unusable SPAN_DIR is still made, and one line names the folder and the reason."""
    (tmp_path / "file").touch()

    done = call(tmp_path, span_dir=tmp_path / "file" / "spans")

    assert done.stderr == f"traces cannot be written to {tmp_path}/file/spans: Not a directory.\n"
    assert '"error"' in done.stdout
