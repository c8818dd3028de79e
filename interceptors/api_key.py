"""API keys: every call proves which service makes it, and that service may do only what its key's scopes allow (S1)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from contracts.errors import ScopeMissing, Unauthenticated
from interceptors.client import ClientCall, ClientInterceptor
from interceptors.context import current_context
from interceptors.server import Call, ServerInterceptor

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from contracts.method import Method
    from interceptors.keyring import Keyring
    from interceptors.server import Proceed

API_KEY = "x-api-key"


class ServerApiKey(ServerInterceptor):
    """Refuses a call without a valid key in `x-api-key` before its request is parsed, or without the method's scopes.

    `keyring` is asked on every call, so that a keyring read anew holds at once. Services named in `open_services` need
    no key. User tokens play no part here.
    """

    def __init__(self, keyring: Callable[[], Keyring], open_services: Collection[str] = ()) -> None:
        self._keyring = keyring
        self._open_services = frozenset(open_services)

    def applies_to(self, method: Method) -> bool:
        return method.service not in self._open_services

    async def intercept(self, call: Call, proceed: Proceed) -> bytes | None:
        record = self._keyring().find(call.metadata.get(API_KEY, ""), datetime.now(UTC))
        if record is None:
            raise Unauthenticated
        call.caller = record.caller
        missing = call.method.policy.scopes - record.scopes
        if missing:
            names = ", ".join(sorted(missing))
            raise ScopeMissing(f"The key of {record.caller} lacks {names}.", metadata={"scopes": names})
        context = current_context()
        if context is not None:
            context.caller = record.caller
        return await proceed(call)


class ClientApiKey(ClientInterceptor):
    """Sends this service's own key with every call; `key` is asked each time, so that a rotated key is used at once."""

    def __init__(self, key: Callable[[], str]) -> None:
        self._key = key

    def start(self, call: ClientCall) -> None:
        call.metadata.append((API_KEY, self._key()))
