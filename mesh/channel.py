"""Channels: a typed stub for each service, with the whole client chain and the policy of its contract built in (L1)."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import grpc.aio
from opentelemetry import trace
from prometheus_client import REGISTRY

from contracts.method import service_of_stub
from contracts.service_config import service_config
from contracts.services import SERVICES, short_name
from interceptors.api_key import ClientApiKey
from interceptors.breaker import Breakers, ClientBreaker
from interceptors.breaker_metrics import show_breakers
from interceptors.chained_channel import ChainedChannel
from interceptors.context import ClientContext
from interceptors.criticality import ClientCriticality
from interceptors.deadline import ClientDeadline
from interceptors.declared_calls import ClientDeclaredCalls
from interceptors.hedging import ClientHedging
from interceptors.idempotency import ClientIdempotencyKey
from interceptors.metrics import ClientMetrics
from interceptors.retry_budget import RetryBudgets
from interceptors.tracing import ClientTracing
from mesh.config import SERVICE_NAMES, load_settings
from mesh.connection import connection_options
from mesh.keyring import own_key

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from prometheus_client import CollectorRegistry

    from interceptors.client import ClientInterceptor
    from mesh.config import Settings

# After a restart a service is found again within this time.
LONGEST_RECONNECT_PAUSE_MS = 2_000
# A host that is gone without a word is noticed after these two, also by a call that waits for its next message. Servers
# count a client that asks more often than once a minute as an attacker.
KEEPALIVE_INTERVAL_MS = 90_000
KEEPALIVE_TIMEOUT_MS = 20_000
# An answer may carry more than a request: one violation for each field that is wrong.
RESPONSE_METADATA_BYTES = 16 * 1024


Stub = TypeVar("Stub")
# A stub class as protoc generates it. For the type checker, what it makes of an aio channel is its asynchronous kind.
StubClass: TypeAlias = "Callable[[grpc.aio.Channel], Stub]"


class Channels:
    """The channels of one process, one for each service it calls, opened when first asked for.

    They share the circuit breakers and the retry budgets. Processes that have more than one of these give each the
    same `breakers` and `budgets`.
    """

    def __init__(
        self,
        settings: Settings,
        key: Callable[[], str],
        breakers: Breakers | None = None,
        budgets: RetryBudgets | None = None,
    ) -> None:
        self._settings = settings
        self.breakers = breakers or Breakers()
        show_breakers(self.breakers, REGISTRY)
        self._interceptors = client_interceptors(settings, key, breakers=self.breakers, budgets=budgets)
        self._channels: dict[str, grpc.aio.Channel] = {}

    def stub(self, stub_type: StubClass[Stub], at: str = "") -> Stub:
        """Return a stub of the given class, connected to the address in `<NAME>_SERVICE_URL`.

        `at` names the service to ask where each serves the contract: `stub(OutboxServiceStub, at="session")`.
        """
        return stub_type(self.channel(at or short_name(service_of_stub(stub_type).full_name)))

    def channel(self, name: str) -> grpc.aio.Channel:
        """Return the channel to the service with this short name."""
        if name not in self._channels:
            url = self._settings.url_of(name)
            config, through_proxy = service_config(SERVICES[name]), self._settings.calls_through_proxy
            channel = grpc.aio.insecure_channel(url, channel_options(config, url, through_proxy=through_proxy))
            self._channels[name] = ChainedChannel(channel, self._interceptors)
        return self._channels[name]

    async def close(self) -> None:
        """Close every channel; calls under way are cancelled."""
        for channel in self._channels.values():
            await channel.close()
        self._channels.clear()


def client_interceptors(
    settings: Settings,
    key: Callable[[], str],
    registry: CollectorRegistry = REGISTRY,
    breakers: Breakers | None = None,
    budgets: RetryBudgets | None = None,
) -> list[ClientInterceptor]:
    """Return the interceptors of every client, outermost first: the one place where their order stands."""

    def address_of(service: str) -> str:
        name = service.split(".")[1]
        return settings.url_of(name) if name in SERVICE_NAMES else ""

    return [
        ClientTracing(trace.get_tracer_provider(), address_of, old_names_too=settings.emits_old_rpc_names),
        ClientMetrics(registry),
        ClientDeclaredCalls(refuse=settings.strict_contracts),
        ClientDeadline(settings.deadline_factor),
        ClientContext(),
        ClientCriticality(),
        ClientApiKey(key),
        ClientIdempotencyKey(),
        ClientHedging(budgets or RetryBudgets()),
        ClientBreaker(breakers or Breakers()),
    ]


def channel_options(config: str, target: str = "", *, through_proxy: bool = False) -> list[tuple[str, Any]]:
    """Return the options of a channel to `target` with the given service config."""
    # The core would send a whole list of addresses as the name of the host, which no strict server takes for one.
    last = target.rpartition(",")[2]
    authority = [("grpc.default_authority", last)] if last != target else []
    return [
        *connection_options(through_proxy=through_proxy),
        *authority,
        ("grpc.service_config", config),
        ("grpc.service_config_disable_resolution", 1),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", LONGEST_RECONNECT_PAUSE_MS),
        ("grpc.keepalive_time_ms", KEEPALIVE_INTERVAL_MS),
        ("grpc.keepalive_timeout_ms", KEEPALIVE_TIMEOUT_MS),
        # Between two different limits the core refuses at random.
        ("grpc.max_metadata_size", RESPONSE_METADATA_BYTES),
        ("grpc.absolute_max_metadata_size", RESPONSE_METADATA_BYTES),
    ]


@asynccontextmanager
async def connect(stub_type: StubClass[Stub], settings: Settings | None = None) -> AsyncIterator[Stub]:
    """Connect to one service for the time of the context, with this process's settings and key."""
    settings = settings or load_settings()
    channels = Channels(settings, own_key(settings))
    try:
        yield channels.stub(stub_type)
    finally:
        await channels.close()
