"""API keys: authentication of the calling service, and authorization by the scopes of its key."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import structlog

from contracts.errors import RateLimited, ScopeMissing, ServiceError, Unauthenticated, Unavailable
from contracts.metadata import API_KEY as API_KEY
from interceptors.chain.client import ClientCall, ClientInterceptor
from interceptors.chain.server import ServerInterceptor
from interceptors.keys.keyring import Keyring
from interceptors.peer import host_of
from interceptors.rate_limit.gcra import Gcra

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from contracts.method import Method
    from interceptors.chain.call import Call, Start
    from interceptors.keys.keyring import KeyEntry, RejectedKey

# Note on a call with a superseded key.
SUPERSEDED_KEY = "superseded_key"
# Notes on a call with a rejected key: the key's id, its caller and the cause. The response contains none of them.
REJECTED_KEY, REJECTED_CALLER, REJECTION_CAUSE = "refused_key", "refused_caller", "refused_because"
# Limits how often one host may present an unverified key. Further attempts are rejected without hashing.
UNVERIFIED_KEYS_PER_S = 20.0
UNVERIFIED_KEYS_BURST = 20
# Minimum time between two log lines about the same problem.
WARNING_INTERVAL_S = 60.0

_log = structlog.stdlib.get_logger("solo60.keys")


class ServerApiKey(ServerInterceptor):
    """Server interceptor that requires a valid API key in `x-api-key` with the scopes of the method.

    A call is rejected before its request is parsed. `keyring` is called on each call, so a reloaded keyring takes
    effect at once. If `keyring` raises, every call is rejected with UNAVAILABLE. Services named in `open_services` need
    no key. User tokens are not checked here.

    A verified key is not hashed again on its next call. Each host may present 20 unverified keys a second per key id in
    the keyring; all unknown ids count as one. Further attempts are rejected as RATE_LIMITED without a lookup (CWE-307).

    If the caller has a newer valid key, the call's notes name the old one as `superseded_key`, and a warning is logged
    once a minute. The notes of a rejected call name the key's id and the cause, and the caller if the secret is right.
    The response and its timing are the same for every cause.

    `wall_clock` returns seconds since 1970 and decides whether a key is valid. `clock` is monotonic.

    >>> from interceptors.keys.keyring import Keyring, mint_key, record_of_key
    >>> key = mint_key("dev")
    >>> keyring = Keyring([record_of_key(key, "session", ["example.echo"])])
    >>> call_echo(ServerApiKey(lambda: keyring), metadata={"x-api-key": key})
    'hi'
    >>> call_echo(ServerApiKey(lambda: keyring))
    'UNAUTHENTICATED'
    >>> call_echo(ServerApiKey(lambda: keyring), method="Keep", metadata={"x-api-key": key})
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
        self._last_keyring = Keyring()
        self._unverified_keys = Gcra(UNVERIFIED_KEYS_PER_S, UNVERIFIED_KEYS_BURST)
        self._warnings = Gcra(1 / WARNING_INTERVAL_S, burst=1)

    def applies_to(self, method: Method) -> bool:
        return method.service not in self._open_services

    def start_of(self, method: Method) -> Start:
        scopes, wall_clock = method.policy.scopes, self._wall_clock

        def start(call: Call) -> None:
            now_s = wall_clock()
            # Do not store the key in a local variable, because the traceback of an error would show it.
            try:
                keyring = self._current_keyring(now_s)
                entry = keyring.cached(call.metadata.get(API_KEY, ""), now_s) or self._look_up(call, keyring, now_s)
            except Exception as error:
                self._warn("error", "cannot verify API keys, rejecting all calls", error=type(error).__name__)
                raise Unavailable("The service cannot verify API keys now. Try again later.") from error
            if isinstance(entry, ServiceError):
                raise entry
            record = entry.record
            call.context.caller = record.caller
            if entry.newer and entry.is_superseded(now_s):
                call.notes[SUPERSEDED_KEY] = record.key_id
                self._warn(record.key_id, "superseded key used", key_id=record.key_id, caller=record.caller)
            if not scopes <= record.scopes:
                names = ", ".join(sorted(scopes - record.scopes))
                raise ScopeMissing(f"The key of {record.caller} lacks {names}.", metadata={"scopes": names})

        return start

    def _current_keyring(self, now_s: float) -> Keyring:
        keyring = self._keyring()
        if keyring is not self._last_keyring:
            # Verify cached keys again now. Otherwise bad keys from the same host could use up its attempts and lock out
            # good keys.
            keyring.warm_from(self._last_keyring, now_s)
            self._last_keyring = keyring
        return keyring

    def _look_up(self, call: Call, keyring: Keyring, now_s: float) -> KeyEntry | ServiceError:
        """Return the record of the call's key, or the error to raise.

        The error is not raised here, because its traceback would show the key.
        """
        key = call.metadata.get(API_KEY, "")
        source = (host_of(call.servicer_context.peer()), keyring.id_claimed_by(key))
        retry_after_s = self._unverified_keys.admit(source, self._clock())
        if retry_after_s > 0:
            return RateLimited(
                "Too many unverified API keys from this host. Try again later.", retry_after_s=retry_after_s
            )
        entry = keyring.look_up(key, now_s)
        if entry is None:
            self._note_rejection(call, keyring.rejection_of(key, now_s))
            return Unauthenticated()
        return entry

    @staticmethod
    def _note_rejection(call: Call, rejected: RejectedKey) -> None:
        if not rejected.key_id:  # no key, or a malformed one
            return
        # Do the same work for every cause and log no warning: the response time must not reveal the cause.
        call.notes[REJECTED_KEY] = rejected.key_id
        call.notes[REJECTED_CALLER] = rejected.caller
        call.notes[REJECTION_CAUSE] = rejected.cause

    def _warn(self, subject: str, event: str, **facts: str) -> None:
        if self._warnings.admit(subject, self._clock()) == 0:
            _log.warning(event, **facts)


class ClientApiKey(ClientInterceptor):
    """Client interceptor that sends this service's API key with each call.

    `key` is called each time, so a rotated key is used at once.
    """

    def __init__(self, key: Callable[[], str]) -> None:
        self._key = key

    def start(self, call: ClientCall) -> None:
        call.metadata.append((API_KEY, self._key()))
