"""Mesh of service processes with methods to break them while they work.

    async with BreakableMesh.started(local) as mesh:
        await mesh.kill("payment")

Each service in RELAYED has a second relay in its own process, so that a relay can die without its service. Calls to a
service pass through a link, so that its answers can be delayed or lost. All processes end with the context.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections import Counter, defaultdict
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Self

from contracts.services import SERVICE_NAMES
from interceptors.breaker.circuit import Circuit, Limits
from interceptors.breaker.interceptor import Breakers
from local.child import Child
from local.keys import OPERATOR
from local.parts import MeshError
from local.supervisor import Mesh
from mesh.serving.channel import Channels
from tests.support.ports import free_ports
from tests.support.postgres import connection_to
from tests.support.tcp_proxy import HOST, TcpProxy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from mesh.config import Settings
    from tests.support.local_mesh import LocalMesh

RELAYED = ("session",)
RELAY = "relay of "
# Production values, because LocalMesh uses longer deadlines and no shedding.
PRODUCTION_SETTINGS = {"deadline_factor": 1.0, "shed_queue_delay_s": 0.5, "shed_least_concurrency": 20}
NEVER_OPEN = Limits(min_calls=1_000_000, unreachable_in_a_row=1_000_000)
# PostgreSQL allows 100 connections, and those of a killed process stay open for a moment.
CONNECTIONS = 5
# A start fails if the database connection is cut during it, so it is repeated.
MAX_STARTS = 10
RELAY_STOP_TIMEOUT_S = 30.0
# Runs in its own session, so that it resumes the process even if the test is killed.
FREEZE = "kill -STOP $1 && sleep $2; kill -CONT $1 2>/dev/null"


class BreakableMesh:
    """Running mesh with a counter of injected faults by kind."""

    def __init__(self, mesh: Mesh, links: dict[str, TcpProxy]) -> None:
        self.mesh = mesh
        self.injected: Counter[str] = Counter()
        self.repeated_starts = 0
        self._links = links
        self._relays: dict[str, Child] = {}
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    @classmethod
    @asynccontextmanager
    async def started(cls, local: LocalMesh) -> AsyncIterator[Self]:
        """Start services, links and relays; stop them at the end of the context."""
        settings = local.settings_with(
            **PRODUCTION_SETTINGS, database_connections=CONNECTIONS, trace_sample_ratio=0.0, log_requests=False
        )
        found_at = {name: _port_of(settings, name) for name in SERVICE_NAMES}
        listening = dict(zip(SERVICE_NAMES, free_ports(len(SERVICE_NAMES)), strict=True))
        links = {name: TcpProxy(found_at[name], port) for name, port in listening.items()}
        addresses = {name: f"{HOST}:{port}" for name, port in listening.items()}
        async with Mesh(settings, listen_addresses=addresses) as mesh:
            breakable = cls(mesh, links)
            try:
                for link in links.values():
                    await link.__aenter__()
                for name in RELAYED:
                    breakable._start_relay(name)
                yield breakable
            finally:
                await breakable._stop()

    @asynccontextmanager
    async def channels(self) -> AsyncIterator[Channels]:
        """Connect to the services through the links, as the operator."""
        key = self.mesh.settings.key_path_of(OPERATOR).read_text().strip()
        channels = Channels(self.mesh.settings, lambda: key, _BreakersThatNeverOpen())
        try:
            yield channels
        finally:
            await channels.close()

    async def kill(self, target: str) -> None:
        """Kill a service, or its relay if `target` is "relay of NAME", with SIGKILL and start it again."""
        async with self._locks[target]:
            if target.startswith(RELAY):
                relay = self._relays[target.removeprefix(RELAY)]
                relay.kill()
                await relay.wait()
                self._start_relay(relay.name)
                return
            child = self.mesh._children[target]
            child.kill()
            await child.wait()
            for attempt in range(MAX_STARTS):
                try:
                    await self.mesh.restart(target)
                except MeshError:
                    self.repeated_starts += 1
                    if attempt == MAX_STARTS - 1:
                        raise
                else:
                    return

    async def freeze(self, target: str, for_s: float) -> None:
        """Suspend a process with SIGSTOP and resume it after `for_s` seconds."""
        async with self._locks[target]:
            relay = target.startswith(RELAY)
            pid = self._relays[target.removeprefix(RELAY)].pid if relay else self.mesh._children[target].pid
            freezing = await asyncio.create_subprocess_exec(
                "sh", "-c", FREEZE, "sh", str(pid), f"{for_s:.1f}", start_new_session=True
            )
            try:
                await freezing.wait()
            finally:
                if freezing.returncode is None:
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGCONT)
                    freezing.kill()
                    await freezing.wait()

    async def cut_database(self, name: str, share: float, rng: random.Random) -> None:
        """Terminate a random share of the connections to a service's database."""
        # Two concurrent cuts could terminate each other's connection.
        async with (
            self._locks[f"database of {name}"],
            connection_to(self.mesh.database_url_of(name)) as connection,
        ):
            rows = await connection.fetch(
                "select pid from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()"
            )
            pids = sorted(row["pid"] for row in rows)
            chosen = rng.sample(pids, round(share * len(pids)))
            self.injected["connections cut"] += len(chosen)
            await connection.execute("select pg_terminate_backend(pid) from unnest($1::int[]) as pid", chosen)

    async def slow_down(self, name: str, latency_s: float, for_s: float) -> None:
        """Delay the answers of a service by `latency_s` for `for_s` seconds."""
        async with self._locks[f"link to {name}"]:
            await self._links[name].delay_answers(latency_s, for_s)

    async def lose_answers(self, name: str, for_s: float) -> None:
        """Drop the answers of a service for `for_s` seconds."""
        async with self._locks[f"link to {name}"]:
            await self._links[name].lose_answers(for_s)

    def _start_relay(self, name: str) -> None:
        environment = {
            **self.mesh.environment_of(name),
            "METRICS_ADDRESS": "",
            "HTTP_ADDRESS": "",
            "LISTEN_ADDRESS": "",
        }
        log = self.mesh.settings.log_folder / f"relay-of-{name}.jsonl"
        relay = Child(name, environment, log, ["cli", "relay", name])
        self._relays[name] = relay
        relay.send_line(self.mesh.database_url_of(name))

    async def _stop(self) -> None:
        for relay in self._relays.values():
            relay.terminate()
        for link in self._links.values():
            await link.__aexit__()
        await _end_relays(self._relays.values())


class _BreakersThatNeverOpen(Breakers):
    """Circuit breakers that never open, because one client stands for many members with few calls each."""

    def of(self, method: str) -> Circuit:
        return Circuit(random.SystemRandom(), NEVER_OPEN)


async def _end_relays(relays: Iterable[Child]) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(RELAY_STOP_TIMEOUT_S):
            for relay in relays:
                await relay.wait()
    for relay in relays:
        relay.kill()
        await relay.wait()


def _port_of(settings: Settings, name: str) -> int:
    return int(settings.url_of(name).rpartition(":")[2])
