"""Services call each other only through stubs that carry the contract's deadline, and never choose a longer one."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import services

MODULES = sorted(Path(services.__path__[0]).rglob("*.py"))
CHANNELS = {"insecure_channel", "secure_channel", "intercept_channel"}


def offences(source: str) -> list[str]:
    """Return what in a service's source goes past the channels of the mesh, or overrides a contract's deadline."""
    return [said for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call) and (said := _offence(node))]


def _offence(call: ast.Call) -> str:
    name = _name_of(call.func)
    if name in CHANNELS:
        return f"line {call.lineno} opens a channel of its own"
    if name.endswith("Stub"):
        return f"line {call.lineno} makes a stub of its own"
    is_rpc = isinstance(call.func, ast.Attribute) and name[:1].isupper() and not name.isupper()  # SMTP is no RPC
    if is_rpc and any(each.arg == "timeout" for each in call.keywords):
        return f"line {call.lineno} gives {name} a timeout of its own"
    return ""


def _name_of(function: ast.expr) -> str:
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


@pytest.mark.parametrize("module", MODULES, ids=lambda module: str(module.relative_to(MODULES[0].parent)))
def test_every_call_of_a_service_has_its_contracts_deadline(module: Path) -> None:
    """Stubs come from `Channels`, whose chain sets the deadline; none is set where a call is made."""
    assert offences(module.read_text()) == []


@pytest.mark.parametrize(
    "source",
    [
        "channel = grpc.aio.insecure_channel('127.0.0.1:1')",
        "gyms = GymServiceStub(channel)",
        "gyms = gym_pb2_grpc.GymServiceStub(channel)",
        "await self._gyms.GetGym(request, timeout=60)",
    ],
)
def test_what_goes_past_the_channels_is_found(source: str) -> None:
    """The rule sees each way around it."""
    assert len(offences(f"async def f():\n    {source}")) == 1


def test_what_the_mesh_offers_is_no_offence() -> None:
    """A stub that is asked for, and a call without a timeout."""
    assert offences("async def f():\n    await channels.stub(GymServiceStub).GetGym(GetGymRequest())") == []
