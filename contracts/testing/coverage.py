"""Coverage of the edges between services by the expectations of consumers, as a table and as a list of gaps."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from contracts.edges import EdgeKind
from contracts.method import find_method
from contracts.names import package_of, short_package
from contracts.service_error import PLATFORM_REASONS, PREFIX
from contracts.testing.expectation import Kind
from solo60.common.v1.errors_pb2 import ErrorReason

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from contracts.edges import Edge
    from contracts.testing.expectation import Expectation

# Consumer, provider, method and error, such as ("session", "payment", "RefundSession", "PAYMENT_DISPUTED").
ErrorOfEdge: TypeAlias = tuple[str, str, str, str]

_HEAD = """\
| consumer | provider | method | kinds | success, given | errors, given |
| --- | --- | --- | --- | --- | --- |"""
_KINDS = {EdgeKind.CALL: Kind.CALLS, EdgeKind.LATER: Kind.CALLS_LATER, EdgeKind.EVENT: Kind.EVENT}


@dataclass(frozen=True, slots=True)
class _Row:
    """Calls of one consumer to one method, of all kinds, with the expectations on them."""

    consumer: str
    method: str
    kinds: frozenset[Kind]
    expectations: tuple[Expectation, ...]

    @property
    def key(self) -> tuple[str, str, str]:
        """Consumer, provider and method by their short names."""
        return self.consumer, short_package(package_of(self.method)), self.method.partition("/")[2]

    @property
    def declared_errors(self) -> set[str]:
        """Errors that the contract of the method lists."""
        declared = find_method(f"/{self.method}").policy.errors - PLATFORM_REASONS
        return {ErrorReason.Name(each).removeprefix(PREFIX) for each in declared}

    def states(self, error: str = "") -> list[str]:
        """Return the states in which the consumer expects an error, or success."""
        return sorted(each.state for each in self.expectations if each.error == error)


class Coverage:
    """Edges of the contracts with the expectations on them.

    `not_expected` has a sentence for each declared error of an edge that its consumer cannot get. Consumers and
    providers have the names of their packages: "gym" for "solo60.gym.v1.GymService".
    """

    def __init__(
        self,
        edges: Iterable[Edge],
        expectations: Iterable[Expectation],
        not_expected: Mapping[ErrorOfEdge, str] | None = None,
    ) -> None:
        self._not_expected = not_expected or {}
        self._expectations = list(expectations)
        kinds: dict[tuple[str, str], set[Kind]] = defaultdict(set)
        for edge in edges:
            kinds[short_package(package_of(edge.caller)), edge.callee].add(_KINDS[edge.kind])
        self._rows = sorted((self._row(*names, each) for names, each in kinds.items()), key=lambda row: row.key)

    def _row(self, consumer: str, method: str, kinds: Iterable[Kind]) -> _Row:
        own = [each for each in self._expectations if (each.consumer, each.method.full_name) == (consumer, method)]
        return _Row(consumer, method, frozenset(kinds), tuple(own))

    def table(self) -> str:
        """Return the rows of all edges as a table in Markdown, sorted by consumer, provider and method."""
        return "\n".join([_HEAD, *map(self._line, self._rows)]) + "\n"

    def problems(self) -> list[str]:
        """Return one sentence for each edge without an expectation of success, and for each other gap or leftover."""
        found = [*self._leftover_expectations(), *self._leftover_reasons()]
        for row in self._rows:
            if not row.states():
                found.append(f"{_named(row.key)} has no expectation of success.")
            found += [
                f"{_named(row.key)} has no expectation of {error}, which the contract lists, and no reason for that."
                for error in row.declared_errors
                if not row.states(error) and (*row.key, error) not in self._not_expected
            ]
        return sorted(found)

    def _leftover_expectations(self) -> Iterator[str]:
        declared = {(row.consumer, row.method, kind) for row in self._rows for kind in row.kinds}
        for each in self._expectations:
            if (each.consumer, each.method.full_name, each.kind) not in declared:
                yield f"{each}: no contract of {each.consumer} lists this method in `{each.kind.value}`."

    def _leftover_reasons(self) -> Iterator[str]:
        rows = {row.key: row for row in self._rows}
        for *names, error in self._not_expected:
            row = rows.get((names[0], names[1], names[2]))
            if row is None or error not in row.declared_errors:
                yield f"{_named(names)}: {error} has a reason for no expectation, but no contract lists this error."
            elif row.states(error):
                yield f"{_named(names)}: {error} has a reason for no expectation, but is expected."

    def _line(self, row: _Row) -> str:
        kinds = ", ".join(sorted(kind.value for kind in row.kinds))
        cells = [*row.key, kinds, "; ".join(row.states()) or "missing", "<br>".join(self._errors(row)) or "none"]
        return f"| {' | '.join(cells)} |"

    def _errors(self, row: _Row) -> Iterator[str]:
        """Yield the states of each error, or the reason why it is not expected, for all errors with that reason."""
        reasons: dict[str, list[str]] = defaultdict(list)
        for error in sorted(row.declared_errors | {each.error for each in row.expectations} - {""}):
            if states := row.states(error):
                yield f"{error}: {'; '.join(states)}"
            else:
                reasons[self._not_expected.get((*row.key, error), "missing")].append(error)
        yield from (f"{', '.join(errors)}: {reason}" for reason, errors in reasons.items())


def _named(names: Iterable[str]) -> str:
    consumer, provider, method = names
    return f"{consumer} -> {provider} {method}"
