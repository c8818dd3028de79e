"""Rate limits per caller or per value of a request field, as the contract declares.

Each server process counts by itself: a service with N processes admits up to N times as many calls.
"""

from __future__ import annotations

import operator
import time
from typing import TYPE_CHECKING, NoReturn, cast

from contracts.canonical import canonical_form
from contracts.errors import RateLimited
from contracts.policy import ContractError, field_at
from interceptors.chain.server import ServerInterceptor
from interceptors.rate_limit.gcra import Gcra

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from google.protobuf.descriptor import Descriptor
    from google.protobuf.message import Message

    from contracts.method import Method
    from contracts.policy import RateLimit
    from interceptors.chain.call import Call, Finish, MessageHook, Start

    ReadField = Callable[[Message], Hashable]


class ServerRateLimit(ServerInterceptor):
    """Server interceptor that rejects calls above the method's `rate_limit` with RateLimited and a retry delay.

    By default the limit counts the calls of one caller, before the request is parsed. With `per_field` it counts the
    calls of all callers with the same value in that field, in any spelling (`contracts.canonical`). A stream counts
    once, by its first message. `factor` multiplies the rates of all contracts. Memory is bounded
    (`interceptors.rate_limit.gcra`). Only hashes of field values are stored, because the values may be personal data.

    >>> call_echo(ServerRateLimit(), method="EchoLimited")
    'hi'
    """

    def __init__(self, factor: float = 1.0, now: Callable[[], float] = time.monotonic) -> None:
        self._factor = factor
        self._now = now
        self._by_caller: dict[str, Gcra] = {}
        self._by_field: dict[str, tuple[Gcra, ReadField]] = {}
        self._unread_streams: set[int] = set()

    def applies_to(self, method: Method) -> bool:
        """Return whether `method` has a limit; raise ContractError if the request lacks the limit's field."""
        declared = method.policy.rate_limit
        if declared is None:
            return False
        if method.path in self._by_caller or method.path in self._by_field:
            return True
        limit = Gcra(declared.calls_per_second * self._factor, declared.burst)
        if declared.per_field:
            self._by_field[method.path] = limit, _reader(method, declared)
        else:
            self._by_caller[method.path] = limit
        return True

    def start_of(self, method: Method) -> Start | None:
        limit = self._by_caller.get(method.path)
        if limit is None:
            return self._remember_stream if method.request_streaming else None
        admit, now, reject = limit.admit, self._now, self._reject

        def start(call: Call) -> None:
            wait_s = admit(call.context.caller, now())
            if wait_s:
                reject(method, wait_s)

        return start

    def _remember_stream(self, call: Call) -> Finish:
        self._unread_streams.add(id(call))
        return self._forget_stream

    def _forget_stream(self, call: Call, _error: BaseException | None) -> None:
        self._unread_streams.discard(id(call))

    def request_hook(self, method: Method) -> MessageHook | None:
        return self.on_request if method.path in self._by_field else None

    def on_request(self, call: Call, message: Message) -> None:
        if call.method.request_streaming:
            if id(call) not in self._unread_streams:
                return
            self._unread_streams.remove(id(call))
        limit, read = self._by_field[call.method.path]
        wait_s = limit.admit(hash(read(message)), self._now())
        if wait_s:
            self._reject(call.method, wait_s)

    def _reject(self, method: Method, wait_s: float) -> NoReturn:
        declared = method.policy.rate_limit
        if declared is None:
            raise AssertionError("A rejected call must have a limit.")
        rate = f"{declared.calls_per_second * self._factor:g}"
        metadata = {"calls_per_second": rate, "burst": str(declared.burst)}
        if declared.per_field:
            metadata["per_field"] = declared.per_field
        subject = declared.per_field or "caller"
        message = f"{method.full_name} allows {rate} calls per second per {subject}. Try again later."
        raise RateLimited(message, metadata=metadata, retry_after_s=wait_s)


def _reader(method: Method, declared: RateLimit) -> ReadField:
    """Return a function that reads the limit's key from a request.

    The key is the same for every spelling of a value. Raises ContractError if the request lacks the declared field.
    """
    field = field_at(cast("Descriptor", method.request_type.DESCRIPTOR), declared.per_field)
    if field is None:
        raise ContractError(
            f"{method.full_name}: rate_limit.per_field: the request has no single-valued field {declared.per_field}."
        )
    read = operator.attrgetter(declared.per_field)
    canonical = canonical_form(field)
    return read if canonical is None else lambda message: canonical(read(message))
