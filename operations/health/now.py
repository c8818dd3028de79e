"""State of the mesh now: all problems in order of harm, and a few facts about the whole mesh."""

from __future__ import annotations

import asyncio
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeVar

from contracts.errors import ServiceError
from local.folder_lock import published_at
from local.movable_clock import clock_of_mesh
from mesh.failure import Failure
from mesh.serving.health_probe import SERVING
from mesh.serving.keyring_file import KeyringFile
from operations.health import problems
from operations.health.diagnosis import MeshState
from operations.logs.watch import LogFindings, LogWatch
from operations.outbox.backlog import OutboxState, states_of_all
from operations.texts import counted, failure_text, moment

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping

    from local.log_reader import LogLine
    from mesh.config import Settings
    from mesh.serving.channel import Channels
    from operations.health.problems import Problem
    from operations.health.report import Report

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Now:
    """Problems in order of harm, and facts about the whole mesh.

    `up_since` is None if no mesh runs in DATA_DIR. `due_count` and `dead_count` count the messages in the outboxes that
    could be read; `outbox_count` is the number of these outboxes.
    """

    problems: tuple[Problem, ...]
    statuses: Mapping[str, str]
    up_since: datetime | None
    due_count: int
    dead_count: int
    outbox_count: int
    last_error: LogLine | None

    @property
    def is_calm(self) -> bool:
        """Whether nothing is wrong. Notes are no problems."""
        return all(each.harm is problems.Harm.NOTE for each in self.problems)

    @property
    def calm_sentence(self) -> str:
        """The whole state as a sentence, if nothing is wrong."""
        return f"Nothing is wrong. All {len(self.statuses)} services are SERVING."

    def facts(self) -> dict[str, str]:
        """Return a few facts about the whole mesh, with units and zones."""
        serving = sum(status == SERVING for status in self.statuses.values())
        line = self.last_error
        return {
            "services": f"{serving} of {len(self.statuses)} SERVING",
            "mesh up since": moment(self.up_since) if self.up_since else "no mesh runs in DATA_DIR",
            "outboxes": self._outboxes(),
            "last error in the logs": f"{_time_of(line)} {line.service}: {line.facts.get('event')}" if line else "none",
        }

    def _outboxes(self) -> str:
        counts = f"{counted(self.due_count, 'message')} due, {counted(self.dead_count, 'dead letter')}"
        if self.outbox_count == len(self.statuses):
            return counts
        return f"{counts} in {self.outbox_count} of {len(self.statuses)} outboxes; the others cannot be read"

    def as_json(self) -> dict[str, object]:
        """Return everything as a JSON object."""
        return {
            "calm": self.is_calm,
            "problems": [asdict(each) | {"harm": each.harm.name.lower()} for each in self.problems],
            "services": dict(self.statuses),
            "up_since": self.up_since.isoformat() if self.up_since else None,
            "outbox": {"due": self.due_count, "dead": self.dead_count, "read": self.outbox_count},
            "last_error": dict(self.last_error.facts) if self.last_error else None,
        }


class NowReader:
    """Reader of everything that can be wrong. Each source fails alone, and its failure is a problem of its own.

    `health` returns the health of the mesh. `channels` need the scope outbox.read.
    """

    def __init__(
        self,
        settings: Settings,
        channels: Channels,
        health: Callable[[], Awaitable[tuple[Report, MeshState]]],
    ) -> None:
        self._settings = settings
        self._channels = channels
        self._health = health
        self._logs = LogWatch(settings.log_folder)

    async def read(self) -> Now:
        """Read all sources once."""
        failures: list[Problem] = []
        none: tuple[Problem, ...] = ()
        report, mesh = await self._read_health(failures)
        outboxes = await states_of_all(self._channels, [name for name in report if _is_serving(report, name)])
        findings = await asyncio.to_thread(self._try, "logs", self._read_logs, LogFindings(), failures)
        keys = self._try("keyring", self._problems_of_keys, none, failures)
        clock = self._try("clock of the mesh", self._problems_of_clock, none, failures)
        up_since = self._try("lock file of the mesh", lambda: published_at(self._settings.data_dir), None, failures)
        of_services = list(problems.problems_of_services(report))
        found = [
            *of_services,
            *problems.problems_of_parts(mesh, self._settings.data_dir, of_services),
            *problems.problems_of_outboxes(_late_messages(outboxes)),
            *_failures_of(outboxes),
            *failures,
            *problems.problems_of_logs(findings.undeclared),
            *keys,
            *clock,
        ]
        readable = [each for each in outboxes.values() if isinstance(each, OutboxState)]
        return Now(
            tuple(sorted(found, key=lambda each: each.harm)),
            {name: str(entry["status"]) for name, entry in report.items()},
            up_since,
            sum(each.due_count for each in readable),
            sum(each.dead_count for each in readable),
            len(readable),
            findings.last_error,
        )

    def close(self) -> None:
        """Close all files."""
        self._logs.close()

    def _try(self, source: str, read: Callable[[], Value], otherwise: Value, failures: list[Problem]) -> Value:
        """Return `read()`, or `otherwise` if it fails, and add the failure to `failures`."""
        try:
            return read()
        except (Failure, OSError) as error:
            failures.append(problems.unreadable(source, str(error)))
            return otherwise

    async def _read_health(self, failures: list[Problem]) -> tuple[Report, MeshState]:
        try:
            return await self._health()
        except (Failure, OSError) as error:
            failures.append(problems.unreadable("health of the services", str(error)))
            return {}, MeshState(runs=False)

    def _read_logs(self) -> LogFindings:
        return self._logs.read(datetime.now(UTC))

    def _problems_of_keys(self) -> tuple[Problem, ...]:
        records = KeyringFile(self._settings.keyring_path).records()
        return tuple(problems.problems_of_keys(records, clock_of_mesh(self._settings).now()))

    def _problems_of_clock(self) -> tuple[Problem, ...]:
        return tuple(problems.problems_of_clock(clock_of_mesh(self._settings).offset))


def _time_of(line: LogLine) -> str:
    """Return the time of a line. A line of a library may have any text in its place."""
    return f"{line.timestamp[:19].replace('T', ' ')} UTC"


def _is_serving(report: Report, name: str) -> bool:
    return report[name]["status"] == SERVING


def _late_messages(outboxes: Mapping[str, OutboxState | ServiceError]) -> Iterator[problems.LateMessages]:
    """Yield each destination with a message whose time has come."""
    for service, state in outboxes.items():
        if isinstance(state, ServiceError):
            continue
        now_ns = state.backlog.now.ToNanoseconds()
        for each in state.backlog.pending:
            if each.HasField("oldest_due_time"):
                late_s = (now_ns - each.oldest_due_time.ToNanoseconds()) / 1e9
                yield problems.LateMessages(service, each.destination, each.due_count, late_s)


def _failures_of(outboxes: Mapping[str, OutboxState | ServiceError]) -> Iterator[Problem]:
    for service, answer in outboxes.items():
        if isinstance(answer, ServiceError):
            yield problems.unreadable(f"outbox of {service}", failure_text(answer))
