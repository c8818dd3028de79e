"""Durations in arguments of commands, such as "100ms", "90m" or "31d"."""

from __future__ import annotations

import re
from datetime import timedelta

from cli.terminal import CommandError

UNITS_S = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def parse_duration(argument: str, text: str) -> timedelta:
    """Return the duration in `text`; raise CommandError with the name of the argument if `text` is invalid."""
    match = re.fullmatch(r"(\d{1,6})(ms|[smhdw])", text)
    if match is None:
        raise CommandError(f'{argument}: "{text}" is not a duration such as 100ms, 30m, 24h or 7d.')
    return timedelta(seconds=int(match[1]) * UNITS_S[match[2]])
