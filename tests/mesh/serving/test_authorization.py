"""Authorization of every caller for every method, on servers that run the complete interceptor chain."""

from __future__ import annotations

import asyncio
import importlib
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import grpc.aio
import pytest
from grpc_health.v1.health import aio as health
from grpc_health.v1.health_pb2_grpc import add_HealthServicer_to_server

from contracts.method import find_method
from contracts.scopes import calls_of
from contracts.services import SERVICES, all_methods
from contracts.status import error_of_call
from interceptors.chain.server import ServerChain
from interceptors.idempotency import IDEMPOTENCY_KEY
from interceptors.keys.interceptor import API_KEY
from interceptors.keys.keyring import Keyring, mint_key, record_of_key
from local.keys import OPERATOR, default_scopes
from mesh.config import Settings
from mesh.serving.reflection import REFLECTION_SERVICES, add_reflection_to_server
from mesh.serving.server import HEALTH_SERVICE, server_interceptors
from tests.support.serving import NO_SHEDDING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

STRANGER = "stranger"
KEYS = {caller: mint_key("test") for caller in (*SERVICES, OPERATOR, STRANGER)}
KEYRING = Keyring(record_of_key(key, caller, default_scopes(caller) or ()) for caller, key in KEYS.items())
ALLOWED = "UNIMPLEMENTED"  # an authorized call reaches a servicer without handlers
INSPECTION = [
    f"{HEALTH_SERVICE}/Check",
    f"{HEALTH_SERVICE}/Watch",
    *(f"{service}/ServerReflectionInfo" for service in REFLECTION_SERVICES),
]


@pytest.fixture
async def channel() -> AsyncIterator[grpc.aio.Channel]:
    """Serve all contracts without handlers, plus health and reflection; yield a channel that adds no metadata."""
    settings = Settings(_env_file=None, health_open=False, **NO_SHEDDING)  # type: ignore[call-arg,arg-type]  # any settings
    server = grpc.aio.server(interceptors=[ServerChain(server_interceptors(settings, lambda: KEYRING))])
    for name, service in SERVICES.items():
        generated = importlib.import_module(f"solo60.{name}.v1.{name}_pb2_grpc")
        servicer = getattr(generated, f"{service.name}Servicer")()
        getattr(generated, f"add_{service.name}Servicer_to_server")(servicer, server)
    add_HealthServicer_to_server(health.HealthServicer(), server)
    add_reflection_to_server([HEALTH_SERVICE], server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as opened:
        yield opened
    await server.stop(0)


async def answer(channel: Any, caller: str, method: str) -> str:
    """Call `method` with the key of `caller`; return the error reason, or "OK" if the call succeeds."""
    metadata = ((API_KEY, KEYS[caller]), (IDEMPOTENCY_KEY, str(uuid4())))
    # Send the only request together with the end of the stream. If the server rejects the call before a later write,
    # grpc.aio replaces the server's status by INTERNAL.
    call = channel.unary_stream(f"/{method}")(b"", metadata=metadata)
    try:
        async for _ in call:
            call.cancel()
            return "OK"
    except grpc.aio.AioRpcError as error:
        return error_of_call(error, method).reason_name()
    return "OK"


def scopes_that_calls_need(caller: str) -> frozenset[str]:
    """Return the scopes for all calls, immediate or deferred, that the contracts declare for the caller."""
    return frozenset[str]().union(*(find_method(f"/{call}").policy.scopes for call in calls_of(caller)))


@pytest.mark.parametrize("caller", SERVICES)
async def test_a_service_may_call_only_its_declared_methods(channel: grpc.aio.Channel, caller: str) -> None:
    """A service may call the methods covered by the scopes of its declared calls. Others fail with SCOPE_MISSING."""
    scopes = scopes_that_calls_need(caller)
    expected = {
        name: ALLOWED if method.policy.scopes <= scopes else "SCOPE_MISSING" for name, method in all_methods().items()
    }

    answers = await asyncio.gather(*(answer(channel, caller, method) for method in expected))

    assert dict(zip(expected, answers, strict=True)) == expected
    assert "SCOPE_MISSING" in answers


@pytest.mark.parametrize(("caller", "expected"), [(STRANGER, "SCOPE_MISSING"), (OPERATOR, ALLOWED)])
async def test_a_key_without_scopes_may_call_nothing_and_the_operator_everything(
    channel: grpc.aio.Channel, caller: str, expected: str
) -> None:
    """A key without scopes is denied every method. The operator's key may call every method."""
    assert {await answer(channel, caller, method) for method in all_methods()} == {expected}


@pytest.mark.parametrize("method", INSPECTION)
async def test_services_may_not_call_health_and_reflection(channel: grpc.aio.Channel, method: str) -> None:
    """If health is not open, only the operator's key may call health checks and reflection."""
    assert {await answer(channel, caller, method) for caller in (*SERVICES, STRANGER)} == {"SCOPE_MISSING"}
    assert await answer(channel, OPERATOR, method) == "OK"


async def test_methods_outside_the_contracts_are_not_served(channel: Any) -> None:
    """Methods outside the contracts, such as grpc.channelz, are UNIMPLEMENTED even for the operator."""
    for method in ("grpc.channelz.v1.Channelz/GetServers", "solo60.gym.v1.GymService/Nothing"):
        call = channel.unary_unary(f"/{method}")(b"", metadata=((API_KEY, KEYS[OPERATOR]),))
        assert await call.code() is grpc.StatusCode.UNIMPLEMENTED
