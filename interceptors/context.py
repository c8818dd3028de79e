"""Call context: who calls for whom, and the correlation id that ties all calls of one request together."""

from __future__ import annotations

import random
import re
import time
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING

from contracts.policy import Criticality
from interceptors.client import ClientCall, ClientInterceptor
from interceptors.errors import CORRELATION_ID
from interceptors.server import Call, ServerInterceptor

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from contracts.method import Method
    from interceptors.server import Proceed

USER_ID = "x-user-id"
DETACHED_BUDGET_S = 30.0
_CORRELATION_ID_FORM = re.compile(r"[A-Za-z0-9_-]{8,64}")
_USER_ID_FORM = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(slots=True)
class CallContext:
    """What the work being done now belongs to.

    `caller` is the service whose key the call carries, `user_id` the member on whose behalf it was made (never a proof
    of identity), `deadline` the instant, on the clock of `time.monotonic`, at which it must be over. `replayed` is set
    by a handler that answers with what it answered before to the same idempotency key. `ledger` collects what callees
    say of their deadlines, where a call is being served, and `has_run_out` that one of them used up all of its time.
    Its own calls inherit `criticality`, if that is higher than theirs. `method` is the one being served; None
    where no call waits for the work.
    """

    correlation_id: str
    user_id: str = ""
    caller: str = ""
    idempotency_key: str = ""
    replayed: bool = False
    deadline: float | None = None
    ledger: list[str] | None = None
    has_run_out: bool = False
    criticality: Criticality = Criticality.SHEDDABLE
    method: Method | None = None


_random = random.Random()  # noqa: S311 - no secret
_current: ContextVar[CallContext | None] = ContextVar("solo60_call_context", default=None)


def current_context() -> CallContext | None:
    """Return the context of the call being served by this task, or None outside of one."""
    return _current.get()


def new_correlation_id() -> str:
    """Return a correlation id that no other request has: 128 random bits in hexadecimal. It is no secret."""
    # The system's own random bits would let other threads take over: they cost 30 times as much on a busy process.
    return f"{_random.getrandbits(128):032x}"


def correlation_id_in(metadata: Mapping[str, str]) -> str:
    """Return the correlation id that came with a call, or a new one where none did that is well-formed."""
    correlation_id = metadata.get(CORRELATION_ID, "")
    return correlation_id if _CORRELATION_ID_FORM.fullmatch(correlation_id) else new_correlation_id()


@contextmanager
def detached_work(correlation_id: str = "", budget_s: float = DETACHED_BUDGET_S) -> Iterator[CallContext]:
    """Do work that no call waits for, under a context of its own, in `budget_s` seconds.

    The calls and the database statements of the work are bounded by what is left of that, as those of a handler are by
    its deadline. It is not cancelled when the time is up: then its next call raises DeadlineExceeded.
    """
    context = CallContext(correlation_id or new_correlation_id(), deadline=time.monotonic() + budget_s)
    token = _current.set(context)
    try:
        yield context
    finally:
        _current.reset(token)


class ServerContext(ServerInterceptor):
    """Makes the caller's correlation id and user id current for the handler, and answers with the correlation id.

    A correlation id that is missing, or is not 8 to 64 letters, digits, "_" or "-", is replaced by a new one: it goes
    into log lines.

    >>> ask(ServerContext(), metadata={"x-correlation-id": "order-2026_17"})
    'hi'
    """

    async def intercept(self, call: Call, proceed: Proceed) -> bytes | None:
        correlation_id = correlation_id_in(call.metadata)
        user_id = call.metadata.get(USER_ID, "")
        call.correlation_id = correlation_id
        call.trailing.append((CORRELATION_ID, correlation_id))
        if user_id and not _USER_ID_FORM.fullmatch(user_id):
            user_id = ""
        _current.set(CallContext(correlation_id, user_id, method=call.method))
        return await proceed(call)


class ClientContext(ClientInterceptor):
    """Sends the correlation id and the user id of the call being served with every call made for it."""

    def start(self, call: ClientCall) -> None:
        context = current_context()
        call.correlation_id = context.correlation_id if context else new_correlation_id()
        call.metadata.append((CORRELATION_ID, call.correlation_id))
        if context and context.user_id:
            call.metadata.append((USER_ID, context.user_id))
