"""State of the mesh now: all problems in order of harm, and a few facts for the case that there are none."""

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
from operations import problems
from operations.log_watch import LogFindings, LogWatch
from operations.outbox_backlog import OutboxState, states_of_all

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping

    from local.log_reader import LogLine
    from mesh.config import Settings
    from mesh.serving.channel import Channels
    from operations.diagnosis import MeshState
    from operations.health import Report
    from operations.problems import Problem

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Now:
    """Problems in order of harm, and facts about the whole mesh.

    `up_since` is None if no mesh runs in DATA_DIR. `due_count` and `dead_count` count the messages in the outboxes that
    could be read.
    """

    problems: tuple[Problem, ...]
    serving: int
    services: int
    up_since: datetime | None
    due_count: int
    dead_count: int
    last_error: LogLine | None

    @property
    def is_calm(self) -> bool:
        """Whether nothing is wrong. Notes are no problems."""
        return all(each.harm is problems.Harm.NOTE for each in self.problems)

    def as_json(self) -> dict[str, object]:
        """Return everything as a JSON object."""
        return {
            "calm": self.is_calm,
            "problems": [asdict(each) | {"harm": each.harm.name.lower()} for each in self.problems],
            "services": {"serving": self.serving, "all": self.services},
            "up_since": self.up_since.isoformat() if self.up_since else None,
            "outbox": {"due": self.due_count, "dead": self.dead_count},
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
        report, mesh = await self._health()
        failures: list[Problem] = []
        outboxes = await states_of_all(self._channels, [name for name in report if _is_serving(report, name)])
        findings = await asyncio.to_thread(self._try, "the logs", self._read_logs, LogFindings(), failures)
        keys = self._try("the keyring", self._problems_of_keys, [], failures)
        clock = self._try("the clock of the mesh", self._problems_of_clock, [], failures)
        up_since = self._try("the lock file of the mesh", lambda: published_at(self._settings.data_dir), None, failures)
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
            sum(_is_serving(report, name) for name in report),
            len(report),
            up_since,
            sum(each.due_count for each in readable),
            sum(each.dead_count for each in readable),
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

    def _read_logs(self) -> LogFindings:
        return self._logs.read(datetime.now(UTC))

    def _problems_of_keys(self) -> list[Problem]:
        records = KeyringFile(self._settings.keyring_path).records()
        return list(problems.problems_of_keys(records, clock_of_mesh(self._settings).now()))

    def _problems_of_clock(self) -> list[Problem]:
        return list(problems.problems_of_clock(clock_of_mesh(self._settings).offset))


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
            yield problems.unreadable(f"the outbox of {service}", f"{answer.code.name}: {answer.message}")
