from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import pytest
from google.protobuf.descriptor_pb2 import MethodOptions

from contracts.method import methods_of
from contracts.service_config import service_config
from contracts.services import SERVICES
from mesh.serving.channel import channel_options
from solo60.example.v1.echo_pb2 import EchoRequest
from solo60.example.v1.echo_pb2_grpc import EchoServiceStub
from solo60.mesh.v1 import policy_pb2

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from google.protobuf.descriptor import ServiceDescriptor

each_service = pytest.mark.parametrize("service", SERVICES.values(), ids=SERVICES)


@pytest.fixture
async def address() -> AsyncIterator[str]:
    """Run a server without services, so that every call that reaches it fails with UNIMPLEMENTED."""
    server = grpc.aio.server()
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield f"127.0.0.1:{port}"
    await server.stop(0)


async def code_of_a_call(address: str, config: str) -> grpc.StatusCode:
    """Call a method over a channel with this service config and return the status code."""
    async with grpc.aio.insecure_channel(address, options=channel_options(config)) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await EchoServiceStub(channel).Echo(EchoRequest(), timeout=10)
    return caught.value.code()


@each_service
async def test_the_core_accepts_the_config(service: ServiceDescriptor, address: str) -> None:
    """Calls are sent with each generated service config.

    gRPC's core checks a config on first use and sends nothing if the config is invalid.
    """
    assert await code_of_a_call(address, service_config(service)) is grpc.StatusCode.UNIMPLEMENTED


async def test_the_core_rejects_a_bad_config(address: str) -> None:
    """A single wrong value in the config fails a call with INVALID_ARGUMENT, so the test above can fail."""
    config = json.loads(service_config(SERVICES["session"]))
    config["methodConfig"][0]["retryPolicy"]["maxAttempts"] = 1

    assert await code_of_a_call(address, json.dumps(config)) is grpc.StatusCode.INVALID_ARGUMENT


@each_service
def test_exactly_the_methods_with_a_retry_policy_are_retried(service: ServiceDescriptor) -> None:
    """The service config has the retry policy of the contract for each method that declares one, and for no other."""
    config = json.loads(service_config(service))
    policies = {
        (n["service"], n["method"]): each["retryPolicy"] for each in config["methodConfig"] for n in each["name"]
    }

    retries = {(m.service, m.name): m.policy.retry for m in methods_of(service) if m.policy.retry}

    assert policies.keys() == retries.keys()
    for name, retry in retries.items():
        assert policies[name] == {
            "maxAttempts": retry.max_attempts,
            "initialBackoff": f"{retry.initial_backoff_s}s",
            "maxBackoff": f"{retry.max_backoff_s:g}s",
            "backoffMultiplier": retry.backoff_multiplier,
            "retryableStatusCodes": [code.name for code in retry.codes],
        }


@each_service
def test_an_unsafe_method_is_not_retried(service: ServiceDescriptor) -> None:
    """A method without a repeatable idempotency_level and without a required idempotency key has no retry policy."""
    retried = {n["method"] for each in json.loads(service_config(service))["methodConfig"] for n in each["name"]}
    for method in service.methods:
        options = method.GetOptions()
        is_safe = options.idempotency_level in (MethodOptions.NO_SIDE_EFFECTS, MethodOptions.IDEMPOTENT)
        needs_key = options.Extensions[policy_pb2.policy].idempotency == policy_pb2.IDEMPOTENCY_REQUIRED
        if not is_safe and not needs_key:
            assert method.name not in retried


@each_service
def test_no_config_carries_a_timeout(service: ServiceDescriptor) -> None:
    """No service config sets a timeout, because the core would end calls early without telling the server."""
    assert "timeout" not in set(_keys(json.loads(service_config(service))))


@each_service
def test_every_config_sets_throttling_health_checks_and_outliers(service: ServiceDescriptor) -> None:
    """Each service config throttles retries and balances calls with health checks and outlier detection."""
    config = json.loads(service_config(service))

    assert config["retryThrottling"] == {"maxTokens": 20, "tokenRatio": 0.1}
    assert config["healthCheckConfig"] == {"serviceName": service.full_name}
    [(policy, outliers)] = config["loadBalancingConfig"][0].items()
    assert policy == "outlier_detection_experimental"
    assert outliers["childPolicy"] == [{"round_robin": {}}]


def _keys(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        yield from value
        value = list(value.values())
    if isinstance(value, list):
        for each in value:
            yield from _keys(each)
