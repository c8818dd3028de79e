from __future__ import annotations

import os
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import grpc
import pytest

from bench.programs import HOST
from bench.rows import our_exporting_row, our_row
from bench.server_process import RowUnavailable, started
from bench.workspace import TEXT, prepare, request_metadata
from mesh.connection import connection_options
from solo60.example.v1.echo_pb2 import EchoRequest
from solo60.example.v1.echo_pb2_grpc import EchoServiceStub

if TYPE_CHECKING:
    from pathlib import Path

    from bench.server_process import ServerProcess

pytestmark = pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the benchmarks need Linux")

CALLS = 5


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep keys and counters apart from those of a benchmark that runs in the repository."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
    prepare()


def call(server: ServerProcess) -> None:
    """Call a server CALLS times."""
    server.wait_until_listening()
    with grpc.insecure_channel(f"{HOST}:{server.port}", connection_options()) as channel:
        for _ in range(CALLS):
            answer = EchoServiceStub(channel).Echo(EchoRequest(text=TEXT), timeout=10, metadata=request_metadata())
            assert answer.text == TEXT


@pytest.mark.parametrize("engine", ["grpcio", "native"])
def test_an_exporting_row_sends_every_span_to_its_collector(engine: str) -> None:
    """The server of an exporting row encodes its spans as OTLP and sends them, as a service does."""
    with started(our_exporting_row(engine)) as server:
        call(server)

        assert server.calls == CALLS
        assert server.exported_share() == 1


def test_other_rows_send_no_spans(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server of any other row ignores the collector of the environment, which would cost time."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    with started(our_row("native", 100)) as server:
        call(server)

        assert server.exported_share() is None


def test_a_server_that_exits_is_named_with_its_last_words() -> None:
    """A row cannot be measured if its server exits at startup. The reason is the last line of its errors."""
    row = replace(our_row("native", 100), command=(sys.executable, "-c", "import sys; sys.exit('no port is free')"))
    with started(row) as server, pytest.raises(RowUnavailable, match=r"native, 100 % traced exited .* no port is free"):
        server.wait_until_listening()
