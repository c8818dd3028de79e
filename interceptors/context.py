"""Call context: correlation id, caller, user and deadline of the current work."""

from __future__ import annotations

import os
import random
import re
import time
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING

from contracts.metadata import CORRELATION_ID
from contracts.policy import Criticality

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from contracts.method import Method

DETACHED_BUDGET_S = 30.0
# Length of the ids that this mesh creates.
_OWN_LENGTH = 32
_CORRELATION_ID_FORM = re.compile(r"[A-Za-z0-9_-]{8,64}")


@dataclass(slots=True)
class CallContext:
    """Context of the call or detached work that the current task belongs to.

    - `caller`: owner of the API key that the call carries.
    - `user_id`: user on whose behalf the call is made; never a proof of identity.
    - `replayed`: set by a handler that returns a stored response for a repeated idempotency key.
    - `deadline`: time in seconds on the clock of `time.monotonic`.
    - `ledger`: deadline entries of the callees; None unless a call is being served.
    - `callee_used_all_time`: whether a callee used up all the time of this call.
    - `criticality`: inherited by outgoing calls if higher than their own.
    - `method`: method being served; None for detached work.
    """

    correlation_id: str = ""
    user_id: str = ""
    caller: str = ""
    idempotency_key: str = ""
    replayed: bool = False
    deadline: float | None = None
    ledger: list[str] | None = None
    callee_used_all_time: bool = False
    criticality: Criticality = Criticality.SHEDDABLE
    method: Method | None = None


_random = random.Random()  # noqa: S311 - no secret
# Forked processes would otherwise create the same ids.
os.register_at_fork(after_in_child=_random.seed)
_current: ContextVar[CallContext | None] = ContextVar("solo60_call_context", default=None)


def current_context() -> CallContext | None:
    """Return the context of the call being served by this task, or None outside of a call."""
    return _current.get()


# Sets the context of this task and of the tasks that it starts. A function around it would take longer on each call.
set_current_context: Callable[[CallContext], object] = _current.set


def new_correlation_id() -> str:
    """Return a new correlation id: 128 random bits in hexadecimal, which are not a secret."""
    # os.urandom is 30 times as slow in a busy process, because it releases the GIL to other threads.
    return f"{_random.getrandbits(128):032x}"


def correlation_id_in(metadata: Mapping[str, str]) -> str:
    """Return the correlation id of a call's metadata, or a new one if it is missing or malformed."""
    correlation_id = metadata.get(CORRELATION_ID, "")
    if len(correlation_id) == _OWN_LENGTH and correlation_id.isascii() and correlation_id.isalnum():
        return correlation_id  # a regular expression takes longer
    return correlation_id if _CORRELATION_ID_FORM.fullmatch(correlation_id) else new_correlation_id()


@contextmanager
def detached_work(correlation_id: str = "", budget_s: float = DETACHED_BUDGET_S) -> Iterator[CallContext]:
    """Open a context for work that no call waits for, with a budget of `budget_s` seconds.

    The remaining budget limits the calls and database statements of the work, as a deadline limits those of a handler.
    The work is not cancelled when the budget is used up; its next call raises DeadlineExceeded.
    """
    context = CallContext(correlation_id or new_correlation_id(), deadline=time.monotonic() + budget_s)
    token = _current.set(context)
    try:
        yield context
    finally:
        _current.reset(token)
