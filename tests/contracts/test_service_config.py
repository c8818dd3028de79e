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
from mesh.channel import channel_options
from solo60.example.v1.echo_pb2 import EchoRequest
from solo60.example.v1.echo_pb2_grpc import EchoServiceStub
from solo60.mesh.v1 import policy_pb2

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from google.protobuf.descriptor import ServiceDescriptor

each_service = pytest.mark.parametrize("service", SERVICES.values(), ids=SERVICES)


@pytest.fixture
async def address() -> AsyncIterator[str]:
    """Serve nothing: every call that is sent is UNIMPLEMENTED."""
    server = grpc.aio.server()
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield f"127.0.0.1:{port}"
    await server.stop(0)


async def code_of_a_call(address: str, config: str) -> grpc.StatusCode:
    """Call a method over a channel with this service config."""
    async with grpc.aio.insecure_channel(address, options=channel_options(config)) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await EchoServiceStub(channel).Echo(EchoRequest(), timeout=10)
    return caught.value.code()


@each_service
async def test_the_core_accepts_the_config(service: ServiceDescriptor, address: str) -> None:
    """The core checks a config when it is first used: with a bad one, no call is ever sent."""
    assert await code_of_a_call(address, service_config(service)) is grpc.StatusCode.UNIMPLEMENTED


async def test_the_core_refuses_a_bad_config(address: str) -> None:
    """The test above can fail: one wrong value is enough."""
    config = json.loads(service_config(SERVICES["session"]))
    config["methodConfig"][0]["retryPolicy"]["maxAttempts"] = 1

    assert await code_of_a_call(address, json.dumps(config)) is grpc.StatusCode.INVALID_ARGUMENT


@each_service
def test_exactly_the_methods_that_say_so_are_retried(service: ServiceDescriptor) -> None:
    """The channel's config says what the contract says, for each method and for no other."""
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
def test_what_may_not_be_repeated_is_not_retried(service: ServiceDescriptor) -> None:
    """A method gets no retry without an idempotency_level that allows it, or an idempotency key."""
    retried = {n["method"] for each in json.loads(service_config(service))["methodConfig"] for n in each["name"]}
    for method in service.methods:
        options = method.GetOptions()
        is_safe = options.idempotency_level in (MethodOptions.NO_SIDE_EFFECTS, MethodOptions.IDEMPOTENT)
        needs_key = options.Extensions[policy_pb2.policy].idempotency == policy_pb2.IDEMPOTENCY_REQUIRED
        if not is_safe and not needs_key:
            assert method.name not in retried


@each_service
def test_no_config_carries_a_timeout(service: ServiceDescriptor) -> None:
    """The core ends calls early by it and tells the server nothing."""
    assert "timeout" not in set(_keys(json.loads(service_config(service))))


@each_service
def test_every_channel_throttles_retries_and_heeds_health(service: ServiceDescriptor) -> None:
    """Retries stop when a server keeps failing; an address that fails or says NOT_SERVING gets no calls."""
    config = json.loads(service_config(service))

    assert config["retryThrottling"] == {"maxTokens": 20, "tokenRatio": 0.1}
    assert config["healthCheckConfig"] == {"serviceName": service.full_name}
    [(policy, outliers)] = config["loadBalancingConfig"][0].items()
    assert policy == "outlier_detection_experimental"
    assert outliers["childPolicy"] == [{"round_robin": {}}]


def _keys(value: Any) -> Iterator[str]:  # noqa: ANN401 - any JSON
    if isinstance(value, dict):
        yield from value
        value = list(value.values())
    if isinstance(value, list):
        for each in value:
            yield from _keys(each)
