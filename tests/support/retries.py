"""Retries: a call of the echo service that gRPC's own core sends twice."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import grpc.aio

from contracts.errors import Unavailable
from contracts.service_config import service_config
from interceptors.api_key import API_KEY
from mesh.channel import channel_options
from solo60.example.v1 import echo_pb2
from solo60.example.v1.echo_pb2_grpc import EchoServiceStub

if TYPE_CHECKING:
    from tests.support.echo_server import EchoServer

SERVICE = echo_pb2.DESCRIPTOR.services_by_name["EchoService"]


async def retried_once(echo: EchoServer) -> None:
    """Call Echo where the first attempt meets a service that is not available; return when all has ended."""
    refusals = iter([Unavailable()])

    async def hook() -> None:
        for refusal in refusals:
            raise refusal

    echo.servicer.hook = hook  # type: ignore[method-assign]  # what the hook is for
    # Its health is not asked: the tests' server sets none.
    config = {name: value for name, value in json.loads(service_config(SERVICE)).items() if name != "healthCheckConfig"}
    options = channel_options(json.dumps(config))
    async with grpc.aio.insecure_channel(echo.address, options=options) as channel:
        await EchoServiceStub(channel).Echo(echo_pb2.EchoRequest(text="hi"), metadata=((API_KEY, echo.key),))
    await echo.stop()
