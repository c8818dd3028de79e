"""Clock that only its test moves."""

from __future__ import annotations


class ManualClock:
    """Clock in seconds that a test moves by setting `now_s`."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s
