"""Failures of the commands for contracts, each reported in one sentence."""

from __future__ import annotations

from contracts.checks.run import UnknownCheckError
from contracts.image import ImageError
from contracts.settings import SettingsError
from contracts.source.modules import SourceError
from contracts.workspace import WorkspaceError

FAILURES = (ImageError, SettingsError, SourceError, UnknownCheckError, WorkspaceError, OSError)


def sentence_of(error: Exception) -> str:
    """Return the message of one of FAILURES."""
    if not isinstance(error, OSError):
        return str(error)
    # An error of standard output, such as a full disk, names no file.
    return f"{error.filename} cannot be read: {error.strerror}." if error.filename else f"{error.strerror}."
