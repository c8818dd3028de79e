"""Durations as text for people."""

from __future__ import annotations

import math


def duration_text(duration_s: float) -> str:
    """Return a duration as text, such as "500 ms" or "1.5 s"; an empty text if it is infinite."""
    if math.isinf(duration_s):
        return ""
    return f"{duration_s * 1000:g} ms" if duration_s < 1 else f"{duration_s:g} s"
