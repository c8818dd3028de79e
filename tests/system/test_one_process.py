"""Mesh of `solo60 up --one-process`: one small process that serves like seven."""

from __future__ import annotations

import json
import signal
import urllib.request
from typing import TYPE_CHECKING

import pytest

from contracts.services import SERVICE_NAMES, SERVICES
from local.supervised_settings import expected_metrics_address_of
from mesh.serving.server import OUTBOX_SERVICE
from mesh.telemetry.span_files import SUFFIX
from tests.support.local_mesh import LocalMesh, all_gone, process_tree_of, wait_for
from tests.support.log_records import records_of
from tests.support.prometheus_samples import scraped_samples

if TYPE_CHECKING:
    from collections.abc import Iterator

    import psutil

pytestmark = pytest.mark.system
MAX_MEMORY_MIB = 150
BOOKING_SERVICES = {"user", "gym", "session", "payment", "communication"}


@pytest.fixture(scope="module")
def mesh() -> Iterator[LocalMesh]:
    """Start a mesh in one process, and book a session."""
    with LocalMesh.in_new_folder() as mesh:
        mesh.up("--one-process")
        booked = mesh.solo60("demo", "booking")
        assert booked.returncode == 0, booked.stderr
        yield mesh


def process_of_all(mesh: LocalMesh) -> psutil.Process:
    """Return the process of all services."""
    (found,) = [each for each in process_tree_of(mesh.process) if "local.one_process" in each.cmdline()]
    return found


def test_one_process_needs_little_memory(mesh: LocalMesh) -> None:
    """The process of all services has less than 150 MiB, and is the only process with a service."""
    assert process_of_all(mesh).memory_info().rss / 2**20 < MAX_MEMORY_MIB
    commands = [" ".join(each.cmdline()) for each in process_tree_of(mesh.process)]
    assert not [command for command in commands if "services." in command]


def test_logs_and_spans_belong_to_their_service(mesh: LocalMesh) -> None:
    """A booking over five services leaves access log lines and spans under the name of each service."""
    for name in SERVICE_NAMES:
        assert {record["service"] for record in records_of(mesh.settings.log_path_of(name))} == {name}
        events = {record["event"] for record in records_of(mesh.settings.log_path_of(name))}
        assert "serving" in events
        assert ("call" in events) is (name in BOOKING_SERVICES)
    for name in BOOKING_SERVICES:
        spans = [*records_of(mesh.settings.local_span_dir / f"{name}{SUFFIX}")]
        served = {span["name"].split("/")[0] for span in spans if span["kind"] == "SERVER"}
        assert served - {OUTBOX_SERVICE} == {SERVICES[name].full_name}
    shown = mesh.solo60("logs", "payment", "--json")
    assert '"service": "payment"' in shown.stdout.replace('":"', '": "')


def test_each_service_exposes_its_own_metrics(mesh: LocalMesh) -> None:
    """The page of each service counts the calls of that service, and shows the memory of the process."""
    for name in SERVICE_NAMES:
        with urllib.request.urlopen(f"http://{expected_metrics_address_of(mesh.settings, name)}/metrics") as page:
            samples = scraped_samples(page.read().decode())
        served = {dict(labels)["grpc_service"] for (sample, labels) in samples if sample == "grpc_server_handled_total"}
        own = {each for each in served if each.startswith("solo60.") and not each.startswith("solo60.mesh.")}
        assert own == ({SERVICES[name].full_name} if name in BOOKING_SERVICES else set())
        assert any(sample == "process_resident_memory_bytes" for sample, _ in samples)


def test_a_restart_restarts_all_services(mesh: LocalMesh) -> None:
    """`solo60 restart gym` is refused with the command that restarts all services, and that command works."""
    before = process_of_all(mesh).pid

    refused = mesh.solo60("restart", "gym")
    restarted = mesh.solo60("restart", "services")

    assert refused.returncode == 1
    assert refused.stderr == "gym shares a process with all other services: `solo60 restart services` restarts them.\n"
    assert restarted.stdout == "services: SERVING\n"
    assert process_of_all(mesh).pid != before
    assert mesh.is_serving()


def test_a_killed_process_is_reported_and_restarted(mesh: LocalMesh) -> None:
    """`up` restarts the process of all services; until then, `health` reports its end for each service."""
    process_of_all(mesh).kill()
    wait_for(lambda: "services was killed by signal 9." in mesh.output)
    report = json.loads(mesh.solo60("health", "--json").stdout)

    mesh.wait_for_output("services is running again.")
    assert mesh.is_serving()
    unreachable = [entry for entry in report.values() if entry["status"] == "UNREACHABLE"]
    assert all(entry["next"] in ("solo60 restart services", "solo60 health") for entry in unreachable)


def test_ctrl_c_ends_all_processes(mesh: LocalMesh) -> None:
    """Ctrl-C drains the process of all services and exits with 0."""
    processes = process_tree_of(mesh.process)

    mesh.process.send_signal(signal.SIGINT)

    assert mesh.process.wait(60) == 0, mesh.output
    assert all_gone(processes)
    assert "Traceback" not in mesh.output
    for name in SERVICE_NAMES:
        assert records_of(mesh.settings.log_path_of(name))[-1]["service"] == name
