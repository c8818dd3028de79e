"""Idempotency keys: one for each logical call, the same over all its attempts (S6).

Where the contract says IDEMPOTENCY_REQUIRED, the client mints the key and the server sees to it that it is there; the
handler finds it in its call context and acts once for each key of each caller.
"""

from __future__ import annotations

import re
import uuid
from typing import TYPE_CHECKING

from contracts.errors import IdempotencyKeyMissing
from interceptors.client import ClientCall, ClientInterceptor
from interceptors.context import current_context
from interceptors.server import Call, ServerInterceptor

if TYPE_CHECKING:
    from contracts.method import Method
    from interceptors.server import Proceed

IDEMPOTENCY_KEY = "idempotency-key"
REPLAYED = "idempotent-replayed"
_FORM = re.compile(r"[\x21-\x7e]{1,255}")


class ServerIdempotencyKey(ServerInterceptor):
    """Refuses a call that has no well-formed key where the contract asks for one: 1 to 255 visible ASCII characters.

    A handler that answers with what it answered before says so with `current_context().replayed = True`, and the caller
    finds `idempotent-replayed: true` in the trailing metadata.

    >>> ask(ServerIdempotencyKey(), method="Keep", metadata={"idempotency-key": "4d8f"})
    ''
    >>> ask(ServerIdempotencyKey(), method="Keep")
    'IDEMPOTENCY_KEY_MISSING'
    """

    def applies_to(self, method: Method) -> bool:
        return method.policy.idempotency_key_required

    async def intercept(self, call: Call, proceed: Proceed) -> bytes | None:
        key = call.metadata.get(IDEMPOTENCY_KEY, "")
        if not _FORM.fullmatch(key):
            raise IdempotencyKeyMissing(f"{call.method.full_name} needs metadata {IDEMPOTENCY_KEY}.")
        context = current_context()
        if context is None:
            return await proceed(call)
        context.idempotency_key = key
        reply = await proceed(call)
        if context.replayed:
            call.trailing.append((REPLAYED, "true"))
        return reply


class ClientIdempotencyKey(ClientInterceptor):
    """Mints a key for each call whose contract asks for one, unless the caller brings its own in the metadata."""

    def start(self, call: ClientCall) -> None:
        if call.method.policy.idempotency_key_required and not any(key == IDEMPOTENCY_KEY for key, _ in call.metadata):
            call.metadata.append((IDEMPOTENCY_KEY, str(uuid.uuid4())))
