"""Server and client interceptors, one module or folder per concept, with these public names.

Each server interceptor also works alone in `grpc.aio.server(interceptors=[...])`. Several form a `ServerChain`.

The examples in the docstrings run as tests. Their function `call_echo` serves an echo behind the given interceptors and
calls it once over a real socket. The result is the response text or the reason of the error.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

# Module of each public name. A name is imported at first use, so that a program that needs only API keys does not load
# gRPC and OpenTelemetry.
_MODULE_OF = {
    # Server interceptors in the order of the chain, outermost first.
    "ServerErrors": "interceptors.errors.interceptor",  # send every error as a rich status
    "ServerContext": "interceptors.propagation",  # set the call context, return the correlation id
    "ServerMetrics": "interceptors.metrics.interceptor",  # count and time calls for Prometheus
    "ServerMetadataLimit": "interceptors.metadata_limit",  # reject calls with too much metadata
    "ServerShedding": "interceptors.shedding.interceptor",  # reject calls that cannot finish in time
    "ServerCriticality": "interceptors.criticality",  # pass the criticality on to outgoing calls
    "ServerAccessLog": "interceptors.access_log",  # log one line per call
    "ServerTracing": "interceptors.tracing.interceptor",  # serve each call in a span
    "ServerApiKey": "interceptors.keys.interceptor",  # authenticate the caller, check its scopes
    "ServerDeadline": "interceptors.deadline.interceptor",  # end each call at its deadline
    "ServerIdle": "interceptors.idle",  # end streams without messages
    "ServerRateLimit": "interceptors.rate_limit.interceptor",  # limit calls per caller or field value
    "ServerDeprecation": "interceptors.deprecation",  # announce the removal of methods
    "ServerIdempotencyKey": "interceptors.idempotency",  # require an idempotency key
    "ServerValidation": "interceptors.validation.interceptor",  # check messages against their rules
    # Client interceptors in the order of the chain, outermost first.
    "ClientMetrics": "interceptors.metrics.interceptor",  # count and time calls for Prometheus
    "ClientTracing": "interceptors.tracing.interceptor",  # send each call in a span
    "ClientDeclaredCalls": "interceptors.declared_calls",  # reject or log calls missing from the contract
    "ClientDeadline": "interceptors.deadline.interceptor",  # give each call a deadline
    "ClientContext": "interceptors.propagation",  # send correlation id and user id
    "ClientCriticality": "interceptors.criticality",  # send the criticality
    "ClientApiKey": "interceptors.keys.interceptor",  # send this process's API key
    "ClientIdempotencyKey": "interceptors.idempotency",  # create an idempotency key
    "ClientHedging": "interceptors.hedging",  # send slow calls again
    "ClientBreaker": "interceptors.breaker.interceptor",  # reject calls of a failing method
    # Composition.
    "ServerChain": "interceptors.chain.server",  # interceptors of a server, as one for grpc.aio
    "ChainedServer": "interceptors.chain.chained_server",  # server that composes chain and handlers once
    "ChainedChannel": "interceptors.chain.channel",  # channel that sends calls through interceptors
    # For new interceptors and for handlers.
    "ServerInterceptor": "interceptors.chain.server",  # base class of server interceptors
    "Call": "interceptors.chain.call",  # incoming call, as server interceptors see it
    "ClientInterceptor": "interceptors.chain.client",  # base class of client interceptors
    "ClientCall": "interceptors.chain.client",  # outgoing call, as client interceptors see it
    "CallContext": "interceptors.context",  # correlation id, caller, user and deadline of the current work
    "current_context": "interceptors.context",  # context of the call being served
    "detached_work": "interceptors.context",  # context for work that no call waits for
    # State that several interceptors of a process share.
    "Breakers": "interceptors.breaker.interceptor",  # circuit breakers of all called methods
    "RetryBudgets": "interceptors.retry_budget",  # retry budgets of all called services
    "Keyring": "interceptors.keys.keyring",  # API keys that a server accepts
}
__all__ = list(_MODULE_OF)

if TYPE_CHECKING:
    from interceptors.access_log import ServerAccessLog as ServerAccessLog
    from interceptors.breaker.interceptor import Breakers as Breakers
    from interceptors.breaker.interceptor import ClientBreaker as ClientBreaker
    from interceptors.chain.call import Call as Call
    from interceptors.chain.chained_server import ChainedServer as ChainedServer
    from interceptors.chain.channel import ChainedChannel as ChainedChannel
    from interceptors.chain.client import ClientCall as ClientCall
    from interceptors.chain.client import ClientInterceptor as ClientInterceptor
    from interceptors.chain.server import ServerChain as ServerChain
    from interceptors.chain.server import ServerInterceptor as ServerInterceptor
    from interceptors.context import CallContext as CallContext
    from interceptors.context import current_context as current_context
    from interceptors.context import detached_work as detached_work
    from interceptors.criticality import ClientCriticality as ClientCriticality
    from interceptors.criticality import ServerCriticality as ServerCriticality
    from interceptors.deadline.interceptor import ClientDeadline as ClientDeadline
    from interceptors.deadline.interceptor import ServerDeadline as ServerDeadline
    from interceptors.declared_calls import ClientDeclaredCalls as ClientDeclaredCalls
    from interceptors.deprecation import ServerDeprecation as ServerDeprecation
    from interceptors.errors.interceptor import ServerErrors as ServerErrors
    from interceptors.hedging import ClientHedging as ClientHedging
    from interceptors.idempotency import ClientIdempotencyKey as ClientIdempotencyKey
    from interceptors.idempotency import ServerIdempotencyKey as ServerIdempotencyKey
    from interceptors.idle import ServerIdle as ServerIdle
    from interceptors.keys.interceptor import ClientApiKey as ClientApiKey
    from interceptors.keys.interceptor import ServerApiKey as ServerApiKey
    from interceptors.keys.keyring import Keyring as Keyring
    from interceptors.metadata_limit import ServerMetadataLimit as ServerMetadataLimit
    from interceptors.metrics.interceptor import ClientMetrics as ClientMetrics
    from interceptors.metrics.interceptor import ServerMetrics as ServerMetrics
    from interceptors.propagation import ClientContext as ClientContext
    from interceptors.propagation import ServerContext as ServerContext
    from interceptors.rate_limit.interceptor import ServerRateLimit as ServerRateLimit
    from interceptors.retry_budget import RetryBudgets as RetryBudgets
    from interceptors.shedding.interceptor import ServerShedding as ServerShedding
    from interceptors.tracing.interceptor import ClientTracing as ClientTracing
    from interceptors.tracing.interceptor import ServerTracing as ServerTracing
    from interceptors.validation.interceptor import ServerValidation as ServerValidation
else:

    def __getattr__(name: str) -> object:
        if name not in _MODULE_OF:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(import_module(_MODULE_OF[name]), name)
        return value
