"""Expressions of CEL with an equivalent in Python, found by their exact text and the type of their message.

An expression that changes in a contract is unknown until this module changes too. The equivalents assume that all
fields of the message are valid.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from contracts.plain.predicates import Accepts, all_of, doubtful
from contracts.plain.rules import rules_in

if TYPE_CHECKING:
    from collections.abc import Iterable

    from google.protobuf.descriptor import Descriptor
    from google.protobuf.timestamp_pb2 import Timestamp

    from buf.validate import validate_pb2
    from contracts.field_value import FieldValue

_QUARTER_S, _HOUR_S = 900, 3600
_DAY_MINUTES = 1440


def accepts_expressions(descriptor: Descriptor, rules: Iterable[validate_pb2.Rule]) -> Accepts:
    """Return the predicate for messages of a type that satisfy all expressions; `doubtful` if one is unknown."""
    return all_of(*(_accepts_expression(descriptor, rule) for rule in rules))


def _accepts_expression(descriptor: Descriptor, rule: validate_pb2.Rule) -> Accepts:
    if rules_in(rule).keys() - {"id", "message", "expression"}:
        return doubtful
    return _KNOWN.get((descriptor.full_name, rule.expression), doubtful)


def _moment(time: Timestamp) -> tuple[int, int]:
    return time.seconds, time.nanos


def _has_order(period: FieldValue) -> bool:
    return _moment(period.start_time) < _moment(period.end_time)


def _is_on_quarter_hours(period: FieldValue) -> bool:
    return all(time.seconds % _QUARTER_S == time.nanos == 0 for time in (period.start_time, period.end_time))


def _lasts_at_most(hours: int) -> Accepts:
    def accepts(period: FieldValue) -> bool:
        start, end = period.start_time, period.end_time
        # Fractions of a second are left to protovalidate.
        return bool(start.nanos == end.nanos == 0 and 0 <= end.seconds - start.seconds <= hours * _HOUR_S)

    return accepts


def _starts_in_order(request: FieldValue) -> bool:
    if not request.HasField("starts_from") or not request.HasField("starts_before"):
        return True
    return _moment(request.starts_from) <= _moment(request.starts_before)


_PERIOD, _MONEY, _HOURS = "solo60.common.v1.Period", "solo60.common.v1.Money", "solo60.gym.v1.OpeningHours"
_KNOWN: dict[tuple[str, str], Accepts] = {
    (_PERIOD, "!has(this.start_time) || !has(this.end_time) || this.start_time < this.end_time"): _has_order,
    (
        _PERIOD,
        "[this.start_time, this.end_time].all(t, int(t) % 900 == 0 && !string(t).contains('.'))",
    ): _is_on_quarter_hours,
    (_PERIOD, "this.end_time - this.start_time <= duration('12h')"): _lasts_at_most(12),
    (_PERIOD, "this.end_time - this.start_time <= duration('744h')"): _lasts_at_most(744),
    (_MONEY, "this.minor_units > 0"): lambda money: money.minor_units > 0,
    (_HOURS, "this.opens_minute < this.closes_minute"): lambda hours: hours.opens_minute < hours.closes_minute,
    (_HOURS, "this.closes_minute - this.opens_minute <= 1440"): lambda hours: (
        hours.closes_minute - hours.opens_minute <= _DAY_MINUTES
    ),
    (
        "solo60.session.v1.ListUserSessionsRequest",
        "!has(this.starts_from) || !has(this.starts_before) || this.starts_from <= this.starts_before",
    ): _starts_in_order,
}
