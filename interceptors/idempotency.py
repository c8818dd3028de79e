"""Idempotency keys: one per logical call, the same for all its attempts.

If the contract says IDEMPOTENCY_REQUIRED, the client creates the key and the server rejects calls without one. The
handler reads it from its call context and must act once per key and caller.
"""

from __future__ import annotations

import re
import uuid
from typing import TYPE_CHECKING

from contracts.errors import IdempotencyKeyMissing
from contracts.metadata import IDEMPOTENCY_KEY as IDEMPOTENCY_KEY
from contracts.metadata import REPLAYED as REPLAYED
from interceptors.chain.client import ClientCall, ClientInterceptor
from interceptors.chain.server import ServerInterceptor

if TYPE_CHECKING:
    from contracts.method import Method
    from interceptors.chain.call import Call, Finish

_FORM = re.compile(r"[\x21-\x7e]{1,255}")


class ServerIdempotencyKey(ServerInterceptor):
    """Server interceptor that rejects calls without a well-formed key if the contract requires one.

    A key has 1 to 255 visible ASCII characters. A handler that returns a stored response sets
    `current_context().replayed = True`, and the caller gets `idempotent-replayed: true` in the trailing metadata.

    >>> call_echo(ServerIdempotencyKey(), method="Keep", metadata={"idempotency-key": "4d8f"})
    ''
    >>> call_echo(ServerIdempotencyKey(), method="Keep")
    'IDEMPOTENCY_KEY_MISSING'
    """

    def applies_to(self, method: Method) -> bool:
        return method.policy.idempotency_key_required

    def start(self, call: Call) -> Finish:
        key = call.metadata.get(IDEMPOTENCY_KEY, "")
        if not _FORM.fullmatch(key):
            raise IdempotencyKeyMissing(
                f"{call.method.full_name} requires metadata {IDEMPOTENCY_KEY} with 1 to 255 visible ASCII characters."
            )
        call.context.idempotency_key = key
        return _announce_replay


def _announce_replay(call: Call, error: BaseException | None) -> None:
    if error is None and call.context.replayed:
        call.trailing.append((REPLAYED, "true"))


class ClientIdempotencyKey(ClientInterceptor):
    """Client interceptor that creates a key for each call that requires one.

    A key in the caller's own metadata takes precedence.
    """

    def applies_to(self, method: Method) -> bool:
        return method.policy.idempotency_key_required

    def start(self, call: ClientCall) -> None:
        if not any(key == IDEMPOTENCY_KEY for key, _ in call.metadata):
            call.metadata.append((IDEMPOTENCY_KEY, str(uuid.uuid4())))
