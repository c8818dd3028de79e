"""Checks of environment variables that OpenTelemetry's exporters read.

The exporters ignore a wrong value, or raise an error that does not name the variable.
"""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING

from mesh.config import GRPC, SettingsError

if TYPE_CHECKING:
    from mesh.config import Signal

NO_COMPRESSION = "none"
_COMPRESSIONS = {True: (NO_COMPRESSION, "gzip"), False: (NO_COMPRESSION, "gzip", "deflate")}


def compression_of(signal: Signal, protocol: str) -> str:
    """Return the compression for `signal`: "none", "gzip" or, over HTTP, "deflate". Raises SettingsError for others."""
    name, text = _variable(signal, "COMPRESSION")
    allowed = _COMPRESSIONS[protocol == GRPC]
    value = text.lower() or NO_COMPRESSION
    if value not in allowed:
        raise SettingsError(f"{name}: must be one of {', '.join(allowed)}.")
    return value


def check_timeout(signal: Signal) -> None:
    """Raise SettingsError if the timeout of an export is set, but is not a number of seconds above 0."""
    name, text = _variable(signal, "TIMEOUT")
    try:
        timeout_s = float(text or 1)
    except ValueError:
        timeout_s = math.nan
    if not 0 < timeout_s < math.inf:
        raise SettingsError(f"{name}: must be a number of seconds above 0.")


def _variable(signal: Signal, name: str) -> tuple[str, str]:
    """Return the variable that is set for `signal` and its text, which is empty if none is set."""
    environment = os.environ  # noqa: TID251 - the exporters read it too, and no setting replaces it
    own, common = f"OTEL_EXPORTER_OTLP_{signal.upper()}_{name}", f"OTEL_EXPORTER_OTLP_{name}"
    used = own if environment.get(own, "").strip() else common
    return used, environment.get(used, "").strip()
