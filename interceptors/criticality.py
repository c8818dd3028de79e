"""Criticality: the order in which calls are shed under load, declared in the contract.

A call has the criticality of its method or of the call it serves, whichever is higher. A criticality above the method's
own is sent as metadata `x-criticality` ("sheddable", "normal", "critical"). The server reads this metadata before it
checks the API key, because a false claim gains nothing but a later rejection.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from contracts.policy import Criticality
from interceptors.chain.client import ClientCall, ClientInterceptor
from interceptors.chain.server import ServerInterceptor

if TYPE_CHECKING:
    from contracts.method import Method
    from interceptors.chain.call import Call, Start

CRITICALITY = "x-criticality"
_BY_NAME = {level.name.lower(): level for level in Criticality}


def criticality_of(call: Call) -> Criticality:
    """Return the criticality of an incoming call; an unknown level is ignored."""
    declared = call.method.policy.criticality
    claimed = call.metadata.get(CRITICALITY)
    return declared if claimed is None else max(declared, _BY_NAME.get(claimed, declared))


class ServerCriticality(ServerInterceptor):
    """Server interceptor that stores the call's criticality for the calls made on its behalf.

    >>> call_echo(ServerCriticality(), metadata={"x-criticality": "critical"})
    'hi'
    """

    def start_of(self, method: Method) -> Start:
        declared = method.policy.criticality

        def start(call: Call) -> None:
            # Most calls claim no criticality, and a function call for them would take longer.
            call.context.criticality = criticality_of(call) if CRITICALITY in call.metadata else declared

        return start


class ClientCriticality(ClientInterceptor):
    """Client interceptor that sends the served call's criticality if it is higher than the method's own."""

    def start(self, call: ClientCall) -> None:
        context = call.served
        if context is not None and context.criticality > call.method.policy.criticality:
            call.metadata.append((CRITICALITY, context.criticality.name.lower()))
