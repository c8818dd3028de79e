"""Readers of the console: one session per browser, in the memory of the console's process."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pydantic import SecretStr
from starlette.requests import cookie_parser

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from interceptors.keys.keyring import KeyRecord

# A session without a request for this long is deleted.
IDLE_S = 8 * 3600.0
# If there are more, a session without a key is deleted, or else any: the one with the oldest request. Each visit
# without a cookie begins a session.
MAX_SESSIONS = 1_000
COOKIE = "solo60_console"


@dataclass(slots=True)
class Reader:
    """Person who reads the console. `caller` and `scopes` are those of the reader's key; empty without a key."""

    key: SecretStr = field(default_factory=lambda: SecretStr(""))
    caller: str = ""
    scopes: frozenset[str] = frozenset()

    @property
    def is_signed_in(self) -> bool:
        """Whether the reader has given a key."""
        return bool(self.caller)


class Sessions:
    """Sessions by their random id, which only the browser's cookie has. `now_s` is a monotonic clock.

    Browsers send a cookie to every port of a host, so `port` is a part of the cookie's name: two consoles on one host
    do not end each other's sessions.
    """

    def __init__(self, now_s: Callable[[], float] = time.monotonic, port: str = "") -> None:
        self.cookie = f"{COOKIE}_{port}" if port else COOKIE
        self._now_s = now_s
        # In the order of the last requests.
        self._readers: dict[str, tuple[Reader, float]] = {}

    def begin(self, reader: Reader) -> str:
        """Begin a session and return its id."""
        session_id = secrets.token_urlsafe(32)
        self._readers[session_id] = reader, self._now_s()
        while len(self._readers) > MAX_SESSIONS:
            self._readers.pop(self._least_needed())
        return session_id

    def _least_needed(self) -> str:
        unused = (key for key, (reader, _) in self._readers.items() if not reader.is_signed_in)
        return next(unused, next(iter(self._readers)))

    def find(self, session_id: str) -> Reader | None:
        """Return the reader of a session, or None if the session is unknown or was idle for too long."""
        reader, last_s = self._readers.pop(session_id, (None, 0.0))
        now_s = self._now_s()
        if reader is None or now_s - last_s > IDLE_S:
            return None
        self._readers[session_id] = reader, now_s
        return reader

    def id_in(self, headers: Mapping[str, str]) -> str:
        """Return the session id in the cookies of a request, or "".

        Other programs on this host may have set cookies of any form, so Python's strict parser would find nothing.
        """
        return cookie_parser(headers.get("cookie", "")).get(self.cookie, "")

    def cookie_of(self, session_id: str) -> str:
        """Return the value of Set-Cookie for a session.

        Scripts cannot read the cookie, and other sites cannot send it.
        """
        return f"{self.cookie}={session_id}; Path=/; HttpOnly; SameSite=Strict"

    def end(self, session_id: str) -> None:
        """End a session; do nothing if it is unknown."""
        reader, _ = self._readers.pop(session_id, (None, 0.0))
        if reader is not None:
            # Open pages still have this reader.
            sign_out(reader)


def sign_in(reader: Reader, key: str, record: KeyRecord) -> None:
    """Give a reader the key, caller name and scopes of a verified key."""
    reader.key, reader.caller, reader.scopes = SecretStr(key), record.caller, record.scopes


def sign_out(reader: Reader) -> None:
    """Remove a reader's key."""
    reader.key, reader.caller, reader.scopes = SecretStr(""), "", frozenset()
