"""Description of chains: when each interceptor acts."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest
from prometheus_client import CollectorRegistry

from contracts.method import find_method
from interceptors.chain.description import AFTER, BEFORE, parts_of
from interceptors.chain.server import ServerInterceptor
from interceptors.criticality import ClientCriticality, ServerCriticality
from interceptors.metrics.interceptor import ClientMetrics

if TYPE_CHECKING:
    from contracts.method import Method
    from interceptors.chain.call import Call, Finish, Start
    from interceptors.chain.client import ClientInterceptor

ECHO = find_method("/solo60.example.v1.EchoService/Echo")


class Partial(ServerInterceptor):
    """Interceptor that starts calls with a partial, which has no annotations."""

    def start_of(self, method: Method) -> Start:
        return partial(self._start, method)

    def _start(self, _method: Method, _call: Call) -> Finish | None:
        return None


@pytest.mark.parametrize(
    ("interceptor", "acts"),
    [
        (ServerInterceptor(), ()),
        (ServerCriticality(), (BEFORE,)),
        (ClientCriticality(), (BEFORE,)),
        (ClientMetrics(CollectorRegistry()), (BEFORE, AFTER)),
        (Partial(), (BEFORE, AFTER)),
    ],
)
def test_acts_follow_from_the_function_that_starts_a_call(
    interceptor: ServerInterceptor | ClientInterceptor, acts: tuple[str, ...]
) -> None:
    """An interceptor acts after the handler unless the function that starts a call never returns another one."""
    [part] = parts_of([interceptor], ECHO)

    assert part.acts == acts
