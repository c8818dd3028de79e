from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from bench import tally

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_the_driver_reads_the_tally_of_server_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The driver reads the number of calls that the threads of a server have counted since the tally was reset."""
    monkeypatch.setattr(tally, "FOLDER", tmp_path)
    tally.reset_tally("server")
    server, driver = tally.Tally("server"), tally.Tally("server")
    with ThreadPoolExecutor(4) as threads:
        for _ in range(1000):
            threads.submit(server.add)
    server.add()

    assert driver.value == 1001
