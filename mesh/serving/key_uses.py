"""Record of each API key's last use at any service, to the minute, in a file beside the keyring.

Every process that checks keys adds their uses to the file once a minute and when it stops. If the file cannot be
written, for example in a container that mounts only the keyring, uses are not recorded and calls are not affected.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import structlog

from mesh.periodic import repeating

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping
    from pathlib import Path

    from interceptors.keys.keyring import Keyring

RECORD_INTERVAL_S = 60.0

_log = structlog.stdlib.get_logger("solo60.keys")


class KeyUses:
    """File with the last use of each key id, in seconds since 1970. Several processes may add to it."""

    def __init__(self, keyring_path: Path) -> None:
        self._path = keyring_path.with_suffix(".uses")

    def last_uses(self) -> dict[str, datetime]:
        """Return the time of each key's last use; empty if the file is missing or unreadable."""
        try:
            return {key_id: datetime.fromtimestamp(at_s, UTC) for key_id, at_s in self._read().items()}
        except OSError:
            return {}

    def add(self, uses: Mapping[str, float]) -> None:
        """Add uses of keys; raise OSError if the file cannot be written."""
        if not uses:
            return
        with self._path.with_suffix(".uses-lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            known = self._read()
            latest = {key_id: max(at_s, known.get(key_id, 0.0)) for key_id, at_s in uses.items()}
            written = self._path.with_suffix(".uses-new")
            written.write_text(json.dumps(known | latest, indent=2) + "\n", encoding="utf-8")
            written.replace(self._path)

    def _read(self) -> dict[str, float]:
        try:
            return {str(key_id): float(at_s) for key_id, at_s in json.loads(self._path.read_text()).items()}
        except FileNotFoundError:
            return {}
        except (ValueError, TypeError, AttributeError):  # the file is damaged: the next use replaces it
            return {}


@asynccontextmanager
async def recording_key_uses(keyring: Callable[[], Keyring], path: Path) -> AsyncIterator[None]:
    """Record the uses of keys beside the keyring at `path`, once a minute and at the end of the context."""
    uses, warned = KeyUses(path), False

    async def record() -> None:
        nonlocal warned
        try:
            await asyncio.to_thread(uses.add, keyring().take_uses())
        except OSError as error:
            if not warned:
                warned = True
                _log.warning("key uses cannot be recorded", file=error.filename, error=error.strerror)

    try:
        async with repeating("recording key uses", record, RECORD_INTERVAL_S):
            yield
    finally:
        await record()
