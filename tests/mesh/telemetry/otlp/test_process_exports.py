"""Spans, metrics and log lines of a real process at a real collector."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import subprocess
import sys
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from statistics import median
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import pytest

from interceptors.keys.interceptor import API_KEY
from interceptors.keys.keyring import mint_key, record_of_key
from mesh.config import child_environment
from mesh.connection import connection_options
from mesh.serving.keyring_file import format_keyring
from mesh.telemetry.otlp.log_records import SEVERITIES
from mesh.telemetry.setup import EXIT_TIMEOUT_S
from solo60.example.v1.echo_pb2 import EchoRequest
from solo60.example.v1.echo_pb2_grpc import EchoServiceStub
from tests.mesh.telemetry.test_metrics import scrape
from tests.support.collector import HOST, collecting, values_of
from tests.support.echo import SCOPES
from tests.support.eventually import eventually
from tests.support.log_records import records_of
from tests.support.ports import free_ports
from tests.support.prometheus_samples import samples_of, scraped_samples

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable
    from pathlib import Path

    from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

    from solo60.example.v1.echo_pb2_grpc import EchoServiceAsyncStub
    from tests.support.collector import Collector, Received

EMAIL = "dana@example.com"
# Time that a busy machine needs to start or stop a process.
BUSY_MACHINE_S = 5.0
LONG_MS = 3_600_000
EXPORT_TIMEOUT_S = 1
HANDLED = (
    "grpc_server_handled_total",
    frozenset(
        {
            "caller": "operator",
            "grpc_code": "OK",
            "grpc_method": "Echo",
            "grpc_service": "solo60.example.v1.EchoService",
            "grpc_type": "unary",
            "reason": "",
        }.items()
    ),
)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Families whose values change between a scrape and an export.
ALWAYS_CHANGING = ("process_", "python_gc_", "solo60_event_loop_lag_seconds")


@dataclass
class Echo:
    """Running echo process with its log, a stub for it, and the operator's key."""

    process: subprocess.Popen[bytes]
    log: Path
    stub: EchoServiceAsyncStub
    key: str
    metrics_address: str

    async def call(self, count: int = 1) -> list[float]:
        """Call the process `count` times; return the seconds that each call took."""
        took_s = []
        for number in range(count):
            began = time.monotonic()
            await self.stub.Echo(
                EchoRequest(text=f"call {number}", email=EMAIL), timeout=30, metadata=((API_KEY, self.key),)
            )
            took_s.append(time.monotonic() - began)
        return took_s

    def lines(self) -> list[dict[str, Any]]:
        """Return the lines of the log."""
        return records_of(self.log)

    def events(self) -> list[str]:
        """Return the events of the log without those of calls."""
        return [line["event"] for line in self.lines() if line["event"] != "call"]

    async def stop(self, code: int = 0) -> float:
        """Stop the process, which must exit with `code`; return the seconds that it took."""
        began = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(self.process.wait, 60) == code
        return time.monotonic() - began


@asynccontextmanager
async def echo(folder: Path, endpoint: str, **settings: object) -> AsyncIterator[Echo]:
    """Run an echo process that exports to `endpoint`; kill it at the end of the context."""
    key, (port, metrics_port) = mint_key("test"), free_ports(2)
    keyring, log = folder / "keyring.json", folder / "echo.jsonl"
    keyring.write_text(format_keyring([record_of_key(key, "operator", SCOPES)]))
    own: dict[str, object] = {
        "listen_address": f"{HOST}:{port}",
        "keyring_file": keyring,
        "metrics_address": f"{HOST}:{metrics_port}",
        "otel_exporter_otlp_endpoint": endpoint,
        "otel_bsp_schedule_delay": 200,
        "deadline_factor": 10,
        "shed_queue_delay_s": 60,
    }
    command = [sys.executable, "-m", "tests.support.echo_process"]
    with (
        log.open("wb") as output,
        subprocess.Popen(command, env=child_environment(**own | settings), stdout=output) as process,  # noqa: ASYNC220 - starts at once
    ):
        try:
            await eventually(lambda: process.poll() is not None or answers(port))
            async with grpc.aio.insecure_channel(f"{HOST}:{port}", options=connection_options()) as channel:
                yield Echo(process, log, EchoServiceStub(channel), key, f"{HOST}:{metrics_port}")
        finally:
            process.kill()


def answers(port: int) -> bool:
    """Return whether a server listens on `port`."""
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0


def time_of(line: dict[str, Any]) -> int:
    """Return the timestamp of a line in nanoseconds since the epoch."""
    return (datetime.fromisoformat(line["timestamp"]) - EPOCH) // timedelta(microseconds=1) * 1_000


def line_of(received: Received[LogRecord]) -> dict[str, Any]:
    """Return the line of the log that a record was made from, with its time in nanoseconds since the epoch."""
    record = received.item
    names = {number.value: name for name, number in SEVERITIES.items()}
    assert names[record.severity_number] == record.severity_text
    line = values_of(record.attributes) | {
        "event": record.body.string_value,
        "level": record.severity_text,
        "logger": received.scope,
        "service": received.resource["service.name"],
        "timestamp": record.time_unix_nano,
    }
    if record.trace_id:
        line |= {"trace_id": record.trace_id.hex(), "span_id": record.span_id.hex()}
    return line


def in_order(lines: Iterable[dict[str, Any]]) -> list[str]:
    """Return lines as text, in an order of their own."""
    return sorted(json.dumps(line, sort_keys=True) for line in lines)


def calls_of(collector: Collector) -> list[LogRecord]:
    """Return the lines of the access log."""
    return [each.item for each in collector.logs if each.item.body.string_value == "call"]


@pytest.mark.requirement("S4", "S5")
async def test_each_line_of_the_log_arrives(tmp_path: Path) -> None:
    """Each line of the log arrives as one record, with the same facts and nothing more.

    The lines are those of calls, loggers and foreign output. The record of a call has the ids of its span.
    """
    with collecting() as collector:
        async with echo(tmp_path, collector.endpoint, noise=2, log_requests=True) as process:
            await process.call(3)
            await process.stop()

    lines = process.lines()
    assert in_order(line | {"timestamp": time_of(line)} for line in lines) == in_order(map(line_of, collector.logs))
    assert {"call", "stopping", "printed 0", "to standard error 1"} <= {line["event"] for line in lines}
    spans = {(span.item.trace_id, span.item.span_id) for span in collector.spans}
    assert len(spans) == 3
    assert {(call.trace_id, call.span_id) for call in calls_of(collector)} == spans
    items = [*(log.item for log in collector.logs), *(span.item for span in collector.spans)]
    received = b"".join(item.SerializeToString() for item in items)
    assert process.key.encode() not in received
    assert EMAIL.encode() not in received


@pytest.mark.requirement("S5")
async def test_the_metrics_of_prometheus_arrive(tmp_path: Path) -> None:
    """The collector gets the samples of /metrics, with the same names, labels and values, at the interval."""
    with collecting() as collector:
        async with echo(tmp_path, collector.endpoint, otel_metric_export_interval=200) as process:
            await process.call(3)
            with pytest.raises(grpc.RpcError, match="UNAUTHENTICATED"):
                await process.stub.Echo(EchoRequest(text="no key"))
            scraped = scraped_samples(await scrape(process.metrics_address))
            before = collector.requests.count("metrics")
            # The second export from now on began after the scrape.
            await eventually(lambda: collector.requests.count("metrics") > before + 1)
            exported = samples_of(each.item for each in collector.metrics)
            await process.stop()

    assert exported.keys() == scraped.keys()
    lasting = {key: value for key, value in scraped.items() if not key[0].startswith(ALWAYS_CHANGING)}
    assert {key: exported[key] for key in lasting} == lasting
    assert sum(value for (name, _), value in lasting.items() if name == "grpc_server_handled_total") == 4
    processes = {(each.resource["service.name"], each.resource["service.instance.id"]) for each in collector.metrics}
    assert len(processes) == 1
    [calls] = [each.item for each in collector.metrics if each.item.name == "grpc_server_handling_seconds"][-1:]
    exemplars = {each.trace_id for point in calls.histogram.data_points for each in point.exemplars}
    assert exemplars
    assert exemplars <= {span.item.trace_id for span in collector.spans}
    assert calls.unit == "s"


async def test_the_last_telemetry_arrives_at_the_end_of_the_process(tmp_path: Path) -> None:
    """A stopping process exports its last spans, metrics and log lines, also to a collector that is slow.

    A second SIGTERM meanwhile changes nothing.
    """
    with collecting(is_open=False) as collector:
        async with echo(
            tmp_path, collector.endpoint, otel_metric_export_interval=LONG_MS, otel_bsp_schedule_delay=LONG_MS
        ) as process:
            await process.call()
            stopping = asyncio.create_task(process.stop())
            await eventually(lambda: {"traces", "metrics", "logs"} == set(collector.requests))
            process.process.send_signal(signal.SIGTERM)
            await asyncio.sleep(EXIT_TIMEOUT_S / 5)
            collector.is_open.set()
            await stopping

    assert len(collector.spans) == 1
    assert "grpc_server_handled_total" in {each.item.name for each in collector.metrics}
    assert [each.item.body.string_value for each in collector.logs][-1] == "stopping"


async def test_the_reason_of_a_crash_arrives(tmp_path: Path) -> None:
    """The log line of the exception that ends a process reaches the collector."""
    with collecting() as collector:
        async with echo(tmp_path, collector.endpoint, crash="no more paper") as process:
            assert await asyncio.to_thread(process.process.wait, 60) == 1

    [crash] = [each.item for each in collector.logs]
    assert crash.severity_text == "critical"
    assert values_of(crash.attributes)["exception.stacktrace"].endswith("RuntimeError: no more paper")
    assert [line["event"] for line in process.lines()] == [crash.body.string_value]


@pytest.mark.parametrize("is_silent", [True, False], ids=["silent", "down"])
async def test_a_dead_collector_slows_nothing(tmp_path: Path, *, is_silent: bool) -> None:
    """A collector that refuses connections, or never answers, delays no call, and the end only by its time limit.

    It is reported once for each kind of telemetry.
    """
    with collecting(is_open=False) as silent:
        endpoint = silent.endpoint if is_silent else f"http://{HOST}:{free_ports(1)[0]}"
        settings = {"otel_metric_export_interval": 200, "otel_exporter_otlp_timeout": EXPORT_TIMEOUT_S}
        async with echo(tmp_path, endpoint, **settings) as process:
            calls_s = await process.call(10)
            while len(process.events()) < 3:
                calls_s += await process.call(10)
            took_s = await process.stop()

    assert {line["logger"] for line in process.lines()} == {"solo60.access", "solo60.process", "solo60.telemetry"}
    assert median(calls_s) < EXPORT_TIMEOUT_S / 2
    assert took_s < EXIT_TIMEOUT_S + BUSY_MACHINE_S
    reasons = [line["reason"] for line in process.lines() if "reason" in line]
    failed = "OTEL_EXPORTER_OTLP_ENDPOINT: {0} do not reach {1}"
    hint = "; if it does not accept {0}, set {2}=none"
    assert sorted(reasons) == [
        f"{failed}{hint}.".format("logs", endpoint, "OTEL_LOGS_EXPORTER"),
        f"{failed}{hint}.".format("metrics", endpoint, "OTEL_METRICS_EXPORTER"),
        f"{failed}.".format("traces", endpoint),
    ]


async def test_a_restarted_collector_gets_later_telemetry(tmp_path: Path) -> None:
    """A collector that was down gets what happens after its start. The log names the number of lost lines."""
    settings = {"otel_metric_export_interval": 200, "otel_exporter_otlp_timeout": EXPORT_TIMEOUT_S}
    with collecting() as collector:
        port = collector.port
        async with echo(tmp_path, collector.endpoint, **settings) as process:
            await process.call()
            await eventually(lambda: bool(collector.logs and collector.spans and collector.metrics))
            collector.stop()
            await call_until(process, lambda: len([line for line in process.lines() if "reason" in line]) == 3)
            with collecting(port) as restarted:
                again = {f"{each} are exported again" for each in ("spans", "metrics", "log lines")}
                await call_until(process, lambda: again <= set(process.events()))
                await process.stop()

    calls = [line for line in process.lines() if line["event"] == "call"]
    [lost] = [line["lost"] for line in process.lines() if line["event"] == "log lines are exported again"]
    assert lost > 0
    assert len(collector.logs) + len(restarted.logs) + lost == len(process.lines())
    assert samples_of(each.item for each in restarted.metrics)[HANDLED] == len(calls)


async def call_until(process: Echo, condition: Callable[[], bool]) -> None:
    """Call the process until `condition` holds."""

    async def holds() -> bool:
        await process.call()
        return condition()

    await eventually(holds)


@pytest.mark.parametrize("signal_name", ["traces", "metrics", "logs"])
async def test_a_signal_can_be_turned_off(tmp_path: Path, signal_name: str) -> None:
    """With the exporter "none", one of traces, metrics and logs is not exported, and the others are."""
    with collecting() as collector:
        async with echo(tmp_path, collector.endpoint, **{f"otel_{signal_name}_exporter": "none"}) as process:
            await process.call()
            await process.stop()

    assert set(collector.requests) == {"traces", "metrics", "logs"} - {signal_name}
