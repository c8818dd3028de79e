"""Calls of the echo service with the contract's retry policy, which gRPC's core carries out."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import grpc.aio

from contracts.errors import Unavailable
from contracts.service_config import service_config
from interceptors.chain.channel import ChainedChannel
from interceptors.keys.interceptor import API_KEY, ClientApiKey
from mesh.serving.channel import channel_options
from solo60.example.v1 import echo_pb2
from solo60.example.v1.echo_pb2_grpc import EchoServiceStub

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from solo60.example.v1.echo_pb2_grpc import EchoServiceAsyncStub
    from tests.support.echo_server import EchoServer

SERVICE = echo_pb2.DESCRIPTOR.services_by_name["EchoService"]


def retry_options(target: str = "") -> list[tuple[str, Any]]:
    """Return the contract's channel options without health checking, because echo servers do not set their status."""
    config = {name: value for name, value in json.loads(service_config(SERVICE)).items() if name != "healthCheckConfig"}
    return channel_options(json.dumps(config), target)


@asynccontextmanager
async def retrying_stub(echo: EchoServer) -> AsyncIterator[EchoServiceAsyncStub]:
    """Return a stub with only a valid key and the contract's retries."""
    channel = grpc.aio.insecure_channel(echo.address, options=retry_options())
    async with ChainedChannel(channel, [ClientApiKey(lambda: echo.key)]) as channel:
        yield EchoServiceStub(channel)


async def call_with_one_retry(echo: EchoServer) -> None:
    """Call Echo so that its first attempt fails with UNAVAILABLE and gRPC retries it, then stop the server."""
    refusals = iter([Unavailable()])

    async def hook() -> None:
        for refusal in refusals:
            raise refusal

    echo.servicer.hook = hook
    async with grpc.aio.insecure_channel(echo.address, options=retry_options()) as channel:
        await EchoServiceStub(channel).Echo(echo_pb2.EchoRequest(text="hi"), metadata=((API_KEY, echo.key),))
    await echo.stop()
