"""Failure: the base of errors that a person can act on."""

from __future__ import annotations

from typing import ClassVar


class Failure(Exception):
    """Base of errors whose text is a sentence for the person at the command line."""

    exit_code: ClassVar[int] = 1


class BadSettings(Failure):
    """Base of failures that another value of a setting avoids."""

    exit_code = 2
