"""API keys: every call proves which service makes it, and that service may do only what its key's scopes allow (S1)."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import structlog

from contracts.errors import RateLimited, ScopeMissing, ServiceError, Unauthenticated, Unavailable
from interceptors.client import ClientCall, ClientInterceptor
from interceptors.context import current_context
from interceptors.gcra import Gcra
from interceptors.keyring import Keyring
from interceptors.peer import host_of
from interceptors.server import Call, ServerInterceptor

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from contracts.method import Method
    from interceptors.keyring import HeldKey, RefusedKey
    from interceptors.server import Proceed

API_KEY = "x-api-key"
# The note of a call whose key has a successor.
SUPERSEDED_KEY = "superseded_key"
# The notes of a call with a refused key: the key's id, its caller and the cause. The answer contains none of them.
REFUSED_KEY, REFUSED_CALLER, REFUSED_BECAUSE = "refused_key", "refused_caller", "refused_because"
# Of one key that one host shows and that is not known to be good, so many are looked at; all others are refused unseen.
UNKNOWN_KEYS_PER_S = 20.0
UNKNOWN_KEYS_AT_ONCE = 20
# What goes wrong with every call is logged no more often than this.
WARNING_INTERVAL_S = 60.0

_log = structlog.stdlib.get_logger("solo60.keys")


class ServerApiKey(ServerInterceptor):
    """Refuses a call without a valid key in `x-api-key` before its request is parsed, or without the method's scopes.

    `keyring` is asked on every call, so that a keyring read anew holds at once; where it fails, no call is let in:
    UNAVAILABLE. Services named in `open_services` need no key. User tokens play no part here.

    A key that was found good costs no hash on its next call. Others are looked at 20 times a second for each host and
    each id of a key in the keyring, all unknown ids together; beyond that they are refused as RATE_LIMITED without a
    look (CWE-307). A key that its caller should have changed for a newer one is named in the call's notes, as
    `superseded_key`, and in a warning once a minute. The notes also name a refused key's id, its caller where the
    secret is right, and the cause. The caller gets one answer, in the same time, whatever the cause.

    `wall_clock` gives the seconds since 1970 by which keys begin and end, `clock` is one that never goes back.

    >>> from interceptors.keyring import Keyring, mint_key, record_of_key
    >>> key = mint_key("dev")
    >>> keyring = Keyring([record_of_key(key, "session", ["example.echo"])])
    >>> ask(ServerApiKey(lambda: keyring), metadata={"x-api-key": key})
    'hi'
    >>> ask(ServerApiKey(lambda: keyring))
    'UNAUTHENTICATED'
    >>> ask(ServerApiKey(lambda: keyring), method="Keep", metadata={"x-api-key": key})
    'SCOPE_MISSING'
    """

    def __init__(
        self,
        keyring: Callable[[], Keyring],
        open_services: Collection[str] = (),
        *,
        wall_clock: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._keyring = keyring
        self._open_services = frozenset(open_services)
        self._wall_clock = wall_clock
        self._clock = clock
        self._last = Keyring()
        self._unknown_keys = Gcra(UNKNOWN_KEYS_PER_S, UNKNOWN_KEYS_AT_ONCE)
        self._warnings = Gcra(1 / WARNING_INTERVAL_S, burst=1)

    def applies_to(self, method: Method) -> bool:
        return method.service not in self._open_services

    async def intercept(self, call: Call, proceed: Proceed) -> bytes | None:
        now_s = self._wall_clock()
        try:
            held = self._held(call, now_s)
        except Exception as error:
            self._warn("error", "keys cannot be checked, so no call is let in", error=type(error).__name__)
            raise Unavailable("The service cannot check keys now.") from error
        if isinstance(held, ServiceError):
            raise held
        record = held.record
        call.caller = record.caller
        if held.newer and held.is_superseded(now_s):
            call.notes[SUPERSEDED_KEY] = record.key_id
            self._warn(record.key_id, "a key is used that has a successor", key_id=record.key_id, caller=record.caller)
        scopes = call.method.policy.scopes
        if not scopes <= record.scopes:
            names = ", ".join(sorted(scopes - record.scopes))
            raise ScopeMissing(f"The key of {record.caller} lacks {names}.", metadata={"scopes": names})
        context = current_context()
        if context is not None:
            context.caller = record.caller
        return await proceed(call)

    def _held(self, call: Call, now_s: float) -> HeldKey | ServiceError:
        """Return the record of the call's key, or the refusal: raised here, it would show the key in a traceback."""
        keyring = self._keyring()
        if keyring is not self._last:
            # Or else a flood of bad keys could keep out the good ones that this host shows next.
            keyring.find_again(self._last, now_s)
            self._last = keyring
        key = call.metadata.get(API_KEY, "")
        return keyring.recall(key, now_s) or self._look_up(call, keyring, key, now_s)

    def _look_up(self, call: Call, keyring: Keyring, key: str, now_s: float) -> HeldKey | ServiceError:
        source = (host_of(call.context.peer()), keyring.id_claimed_by(key))
        retry_after_s = self._unknown_keys.admit(source, self._clock())
        if retry_after_s > 0:
            return RateLimited("Too many unknown keys come from this host.", retry_after_s=retry_after_s)
        held = keyring.look_up(key, now_s)
        if held is None:
            self._note_refusal(call, keyring.refusal_of(key, now_s))
            return Unauthenticated()
        return held

    @staticmethod
    def _note_refusal(call: Call, refused: RefusedKey) -> None:
        if not refused.key_id:  # no key, or none of ours
            return
        # The same work for every cause, or else the time of the answer would tell the cause. So there is no warning.
        call.notes[REFUSED_KEY] = refused.key_id
        call.notes[REFUSED_CALLER] = refused.caller
        call.notes[REFUSED_BECAUSE] = refused.cause

    def _warn(self, subject: str, event: str, **facts: str) -> None:
        if self._warnings.admit(subject, self._clock()) == 0:
            _log.warning(event, **facts)


class ClientApiKey(ClientInterceptor):
    """Sends this service's own key with every call; `key` is asked each time, so that a rotated key is used at once."""

    def __init__(self, key: Callable[[], str]) -> None:
        self._key = key

    def start(self, call: ClientCall) -> None:
        call.metadata.append((API_KEY, self._key()))
