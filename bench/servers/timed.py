"""Our server with a clock around each interceptor, which shows what a policy takes inside of a server.

`python -m bench.servers.timed NAME grpcio|native PERCENT PORT`, as bench.servers.ours. After each thousand calls, the
server writes the median time of each interceptor in one call, in microseconds, to a file named NAME.
"""

from __future__ import annotations

import json
import sys
import time
from collections import defaultdict, deque
from functools import partial
from statistics import median
from typing import TYPE_CHECKING, Any

import bench.servers.ours
from bench.workspace import times_path_of
from interceptors.chain.server import ServerInterceptor
from interceptors.errors.responses import ErrorResponses
from mesh.serving.server import server_interceptors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from contracts.method import Method
    from interceptors.chain.call import Call, Finish, MessageHook, Start

CALLS_PER_REPORT = 1_000
KEPT_CALLS = 20_000
MICROSECOND_NS = 1_000


class Times:
    """Times of the last calls, for each of the named interceptors and each of its functions."""

    def __init__(self, path: Path, names: Iterable[str]) -> None:
        self._path = path
        self._ns: dict[str, dict[str, deque[int]]] = {
            name: defaultdict(partial(deque, maxlen=KEPT_CALLS)) for name in names
        }
        self._calls = 0

    def around(self, name: str, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return `function` with a clock around it."""
        add, clock = self._ns[name][part].append, time.perf_counter_ns

        def timed(*arguments: object) -> Any:  # noqa: ANN401 - the result of any function
            began_ns = clock()
            result = function(*arguments)
            add(clock() - began_ns)
            return result

        return timed

    def count_call(self, _call: Call, _error: BaseException | None) -> None:
        """Count an ended call, and write the times after every thousandth."""
        self._calls += 1
        if self._calls % CALLS_PER_REPORT == 0:
            self._path.write_text(json.dumps(self._medians_us()), encoding="utf-8")

    def _medians_us(self) -> dict[str, float]:
        medians_ns = {name: [median(each) for each in parts.values() if each] for name, parts in self._ns.items()}
        return {name: sum(each) / MICROSECOND_NS for name, each in medians_ns.items() if each}


class Timed(ServerInterceptor):
    """Interceptor that acts as another one, with a clock around each of its functions."""

    def __init__(self, inner: ServerInterceptor, times: Times) -> None:
        self._inner = inner
        self._around = partial(times.around, type(inner).__name__)

    def applies_to(self, method: Method) -> bool:
        return self._inner.applies_to(method)

    def start_of(self, method: Method) -> Start | None:
        inner = self._inner.start_of(method)
        if inner is None:
            return None
        start, finish = self._around("start", inner), self._around("finish", lambda end, *ended: end(*ended))

        def start_timed(call: Call) -> Finish | None:
            end = start(call)
            return None if end is None else partial(finish, end)

        return start_timed

    def request_hook(self, method: Method) -> MessageHook | None:
        hook = self._inner.request_hook(method)
        return hook and self._around("request", hook)

    def response_hook(self, method: Method) -> MessageHook | None:
        hook = self._inner.response_hook(method)
        return hook and self._around("response", hook)


class Reporter(ServerInterceptor):
    """Interceptor that counts calls for the reports of `times`."""

    def __init__(self, times: Times) -> None:
        self._times = times

    def start(self, call: Call) -> Finish:  # noqa: ARG002 - every call counts
        return self._times.count_call


def timed_interceptors(name: str, *arguments: Any) -> list[ServerInterceptor]:
    """Return the interceptors of a server with a clock around each but the one that rejects failed calls."""
    interceptors = server_interceptors(*arguments)
    times = Times(times_path_of(name), [type(each).__name__ for each in interceptors])
    timed = [each if isinstance(each, ErrorResponses) else Timed(each, times) for each in interceptors]
    return [Reporter(times), *timed]


if __name__ == "__main__":
    name, engine, percent, port = sys.argv[1:]
    bench.servers.ours.main(name, engine, float(percent), int(port), partial(timed_interceptors, name))
