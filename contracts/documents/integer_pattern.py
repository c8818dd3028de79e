"""Regular expressions for ranges of integers, because protobuf's JSON writes 64-bit integers as strings."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


def integer_pattern(minimum: int | None, maximum: int | None) -> str:
    """Return a pattern for the decimal integers from `minimum` to `maximum`; None is no bound."""
    parts = [*_from_zero(minimum, maximum), *_below_zero(minimum, maximum)]
    return f"^(?:{'|'.join(parts)})$" if len(parts) != 1 else f"^{parts[0]}$"


def _from_zero(minimum: int | None, maximum: int | None) -> Iterator[str]:
    if maximum is None:
        yield from _at_least(max(minimum or 0, 0))
    elif maximum >= 0:
        yield from _between(max(minimum or 0, 0), maximum)


def _below_zero(minimum: int | None, maximum: int | None) -> Iterator[str]:
    least = 1 if maximum is None or maximum >= 0 else -maximum
    if minimum is None:
        yield from (f"-{part}" for part in _at_least(least))
    elif minimum < 0:
        yield from (f"-{part}" for part in _between(least, -minimum))


def _at_least(minimum: int) -> Iterator[str]:
    if minimum == 0:
        yield "(?:0|[1-9][0-9]*)"
        return
    digits = len(str(minimum))
    if minimum != 10 ** (digits - 1):
        yield from _between(minimum, 10**digits - 1)
        digits += 1
    yield f"[1-9][0-9]{_times(digits - 1)}[0-9]*" if digits > 1 else "[1-9][0-9]*"


def _between(first: int, last: int) -> Iterator[str]:
    """Yield patterns that together match the integers from `first` to `last`, both at least 0."""
    while first <= last:
        # The widest block of numbers with a common beginning, such as 400 to 799: [4-7][0-9]{2}.
        size = 1
        while first and first % (size * 10) == 0 and first + size * 10 - 1 <= last:
            size *= 10
        steps = min(9 - first // size % 10, (last - first + 1) // size - 1)
        beginning, digit = divmod(first // size, 10)
        yield f"{beginning or ''}{_digits(digit, digit + steps)}{'[0-9]' if size > 1 else ''}{_times_of(size)}"
        first += (steps + 1) * size


def _digits(first: int, last: int) -> str:
    return str(first) if first == last else f"[{first}-{last}]"


def _times_of(size: int) -> str:
    return _times(len(str(size)) - 1) if size > 1 else ""


def _times(count: int) -> str:
    return "" if count == 1 else f"{{{count}}}"
