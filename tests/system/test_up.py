from __future__ import annotations

import os
import signal
import socket
from typing import TYPE_CHECKING

import pytest

from local.folder_lock import LOCK_NAME
from tests.support.local_mesh import all_gone, process_tree_of

if TYPE_CHECKING:
    import subprocess

    from tests.support.local_mesh import LocalMesh

pytestmark = pytest.mark.system


def stop(process: subprocess.Popen[bytes], number: signal.Signals) -> int:
    """Send signal `number` and return the exit code."""
    process.send_signal(number)
    return process.wait(60)


@pytest.mark.parametrize(
    ("number", "moment"),
    [
        (signal.SIGINT, "loading"),
        pytest.param(signal.SIGINT, "postgresql: SERVING", marks=pytest.mark.soak),
        pytest.param(signal.SIGINT, "gym: starting", marks=pytest.mark.soak),
        (signal.SIGTERM, "gym: migrating"),
        pytest.param(signal.SIGHUP, "gym: starting", marks=pytest.mark.soak),
    ],
)
def test_an_interrupted_start_leaves_no_process(stopped_mesh: LocalMesh, number: signal.Signals, moment: str) -> None:
    """SIGINT, SIGTERM or SIGHUP during the start of `up` ends all started processes, frees the lock and returns 0."""
    process = stopped_mesh.start()
    stopped_mesh.wait_for_output(moment)
    processes = process_tree_of(process)

    assert stop(process, number) == 0
    assert all_gone(processes)
    assert not (stopped_mesh.data_dir / LOCK_NAME).exists()


@pytest.mark.parametrize(("field", "setting"), [("gym_service_url", "GYM_SERVICE_URL"), ("smtp_url", "SMTP_URL")])
def test_a_port_in_use_is_rejected_with_the_name_of_its_setting(
    stopped_mesh: LocalMesh, field: str, setting: str
) -> None:
    """`up` exits with 2 if a port is in use, and names the setting, the address and the process."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        value = f"smtp://{address}" if field == "smtp_url" else address
        refused = stopped_mesh.solo60("up", **{field: value})

    assert refused.returncode == 2
    assert refused.stderr.startswith(f"{setting}: {address} is in use by process {os.getpid()} (")
    assert refused.stderr.endswith("); stop it, or move all ports with PORT_OFFSET.\n")


@pytest.mark.requirement("S1")
@pytest.mark.parametrize("field", ["service_api_key", "listen_address"])
def test_a_setting_for_a_single_process_is_rejected(stopped_mesh: LocalMesh, field: str) -> None:
    """`up` rejects SERVICE_API_KEY and LISTEN_ADDRESS, because each service of a mesh has its own."""
    refused = stopped_mesh.solo60("up", **{field: "127.0.0.1:1"})

    assert refused.returncode == 2
    assert refused.stderr == f"{field.upper()}: unset it, because each service of a mesh has its own.\n"
