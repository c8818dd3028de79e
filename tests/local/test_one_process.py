"""Program that runs all services in one process: its failures."""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING

from local.child import Child
from mesh.config import child_environment
from tests.support.log_records import records_of

if TYPE_CHECKING:
    from pathlib import Path


async def test_a_wrong_setting_ends_the_process_with_one_sentence(tmp_path: Path) -> None:
    """A setting of one service that is wrong ends the process of all with code 2 and one sentence."""
    (tmp_path / "logs").mkdir()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        environment = child_environment(data_dir=tmp_path, stop_with_parent=True)
        child = Child("services", environment, tmp_path / "logs" / "services.jsonl", ["local.one_process"])
        child.send_line(json.dumps({"gym": {"metrics_address": address}}))

        assert await child.wait() == 2

    assert child.last_output() == f"METRICS_ADDRESS: {address} is in use or is not an address of this machine."
    assert not [record for record in records_of(child.log) if "Traceback" in record["event"]]


async def test_a_process_without_its_parent_ends(tmp_path: Path) -> None:
    """If the parent ends before it has sent the settings, the process ends with code 2 and one sentence."""
    environment = child_environment(data_dir=tmp_path, stop_with_parent=True)
    child = Child("services", environment, tmp_path / "services.jsonl", ["local.one_process"])
    child._standard_input.close()

    assert await child.wait() == 2
    assert child.last_output() == (
        "STOP_WITH_PARENT: standard input closed before the settings of the services arrived."
    )
