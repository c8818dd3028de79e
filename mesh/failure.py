"""Base classes of errors that the user can act on."""

from __future__ import annotations

from typing import ClassVar


class Failure(Exception):
    """Base of errors with a message for the user of the command line."""

    exit_code: ClassVar[int] = 1


class BadSettings(Failure):
    """Base of failures that a corrected setting avoids."""

    exit_code = 2
