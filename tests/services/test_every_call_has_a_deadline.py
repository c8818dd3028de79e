"""Static check: services call each other only through the mesh's stubs, and never override a deadline."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

import pytest

from tests.support.sources import MODULES_OF_SERVICES, ROOT, name_of

if TYPE_CHECKING:
    from pathlib import Path

CHANNELS = {"insecure_channel", "secure_channel", "intercept_channel"}


def violations_in(source: str) -> list[str]:
    """Return the calls in a source that bypass the mesh's channels or set a timeout."""
    return [
        violation
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call) and (violation := _violation(node))
    ]


def _violation(call: ast.Call) -> str:
    name = name_of(call.func)
    if name in CHANNELS:
        return f"line {call.lineno} opens its own channel"
    if name.endswith("Stub"):
        return f"line {call.lineno} creates its own stub"
    is_rpc = isinstance(call.func, ast.Attribute) and name[:1].isupper() and not name.isupper()  # SMTP is not an RPC
    if is_rpc and any(each.arg == "timeout" for each in call.keywords):
        return f"line {call.lineno} gives {name} its own timeout"
    return ""


@pytest.mark.parametrize("module", MODULES_OF_SERVICES, ids=lambda module: str(module.relative_to(ROOT / "services")))
def test_every_call_of_a_service_has_its_contracts_deadline(module: Path) -> None:
    """A service's source creates no channel and no stub and sets no timeout, so that `Channels` sets every deadline."""
    assert violations_in(module.read_text()) == []


@pytest.mark.parametrize(
    "source",
    [
        "channel = grpc.aio.insecure_channel('127.0.0.1:1')",
        "gyms = GymServiceStub(channel)",
        "gyms = gym_pb2_grpc.GymServiceStub(channel)",
        "await self._gyms.GetGym(request, timeout=60)",
    ],
)
def test_a_call_that_bypasses_the_channels_is_found(source: str) -> None:
    """The check finds a channel, a stub or a timeout of a service's own."""
    assert len(violations_in(f"async def f():\n    {source}")) == 1


def test_a_regular_call_is_accepted() -> None:
    """The check accepts a stub from `channels` and a call without a timeout."""
    assert violations_in("async def f():\n    await channels.stub(GymServiceStub).GetGym(GetGymRequest())") == []
