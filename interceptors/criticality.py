"""Criticality: what is given up first under load, declared in the contract and inherited by the calls made for a call.

A call's criticality is that of its method or that of the call it serves, whichever is higher. It travels as metadata
`x-criticality` ("sheddable", "normal", "critical") where the method's own contract would say less. It is read before
the API key is: it is a claim, and buys nothing but a later refusal.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from contracts.policy import Criticality
from interceptors.client import ClientCall, ClientInterceptor
from interceptors.context import current_context
from interceptors.server import Call, ServerInterceptor

if TYPE_CHECKING:
    from interceptors.server import Proceed

CRITICALITY = "x-criticality"
_BY_NAME = {level.name.lower(): level for level in Criticality}


def criticality_of(call: Call) -> Criticality:
    """Return the criticality of a call that has come in; a level that does not exist counts as none."""
    declared = call.method.policy.criticality
    claimed = call.metadata.get(CRITICALITY)
    return declared if claimed is None else max(declared, _BY_NAME.get(claimed, declared))


class ServerCriticality(ServerInterceptor):
    """Notes the criticality of the call being served, for the calls that are made for it.

    >>> ask(ServerCriticality(), metadata={"x-criticality": "critical"})
    'hi'
    """

    async def intercept(self, call: Call, proceed: Proceed) -> bytes | None:
        context = current_context()
        if context is not None:
            context.criticality = criticality_of(call)
        return await proceed(call)


class ClientCriticality(ClientInterceptor):
    """Sends the criticality of the call being served with every call that is less critical by its own contract."""

    def start(self, call: ClientCall) -> None:
        context = current_context()
        if context is not None and context.criticality > call.method.policy.criticality:
            call.metadata.append((CRITICALITY, context.criticality.name.lower()))
