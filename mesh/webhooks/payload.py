"""Errors of webhook payloads that do not have the form their sender documents."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from contracts.errors import InvalidRequest, Violation

if TYPE_CHECKING:
    from collections.abc import Iterator

# Raised when JSON is malformed, and when parsed JSON is read as if it had a form that it does not have.
_PARSE_ERRORS = (ValueError, LookupError, TypeError, AttributeError, OverflowError)


@contextmanager
def parsing_payload(kind: str) -> Iterator[None]:
    """Raise InvalidRequest, which names the `payload` field, if the context raises an error of its parsing.

    `kind` is the kind of event that must be complete, such as "dispute event".
    """
    try:
        yield
    except _PARSE_ERRORS:
        violation = Violation("payload", f"must be JSON, and a {kind} must have all its fields")
        raise InvalidRequest("The payload cannot be parsed.", violations=[violation]) from None
