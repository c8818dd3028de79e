from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from bench.startup import OTHERS, lines_of, memory_of, pss_of_services, summary_of
from tests.support.ports import free_ports

SERVICE = """
import socket, sys
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
print("listening", flush=True)
listener.accept()
"""
SUPERVISOR = f"""
import subprocess, sys
subprocess.run([sys.executable, "-c", {SERVICE!r}, *sys.argv[1:]])
"""
FIGURES = {
    "healthy_s": {"new_database": [2.0, 2.4, 2.2], "existing_database": [1.5, 1.6, 1.4]},
    "pss_mib": {"gym": [40.0, 44.0, 42.0], "auth": [50.0, 51.0, 55.0], OTHERS: [120.0, 121.0, 122.0]},
    "rss_mib": {"gym": [80.0, 84.0, 82.0], "auth": [90.0, 91.0, 95.0], OTHERS: [180.0, 181.0, 182.0]},
}


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="only Linux knows PSS")
def test_a_service_is_the_process_that_listens_at_its_port() -> None:
    """Memory is that of the process that serves, however it was started. The others are counted together."""
    gym_port, user_port = free_ports(2)
    with subprocess.Popen(
        [sys.executable, "-c", SUPERVISOR, str(gym_port)], stdout=subprocess.PIPE, text=True
    ) as supervisor:
        assert supervisor.stdout is not None
        assert supervisor.stdout.readline() == "listening\n"
        process = psutil.Process(supervisor.pid)
        [service] = process.children()
        memory = memory_of(process, {"user": user_port, "gym": gym_port})
        for each in (service, process):
            each.kill()

    assert memory["pss_mib"].keys() == memory["rss_mib"].keys() == {"gym", OTHERS}
    for name in ("gym", OTHERS):
        assert 1 < memory["pss_mib"][name] < memory["rss_mib"][name] < 100


def test_the_table_sums_the_medians_of_the_services() -> None:
    """The sums are those of the services alone; supervisor and console have a line of their own."""
    assert summary_of(FIGURES) == [
        ("all services healthy, new database", "2.2 s (2.0 to 2.4)"),
        ("all services healthy, existing database", "1.5 s (1.4 to 1.6)"),
        ("all idle services together, PSS", "93 MiB"),
        ("all idle services together, RSS", "173 MiB"),
        ("supervisor and console, PSS", "121 MiB"),
    ]
    assert lines_of(FIGURES)[-2:] == [("auth, PSS", "51 MiB"), ("gym, PSS", "42 MiB")]
    assert sorted(pss_of_services(FIGURES)) == [40, 42, 44, 50, 51, 55]
