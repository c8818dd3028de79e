from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from contracts.errors import InvalidRequest, ScopeMissing
from contracts.services import SERVICES as CONTRACTS
from tests.services.erasure.person import SERVICES
from tests.support.violations import fields_of

if TYPE_CHECKING:
    from tests.support.serving import MeshForTests

WITH_EVENT = [name for name, service in CONTRACTS.items() if "OnUserErased" in service.methods_by_name]
WITH_ADDRESS = [name for name, service in CONTRACTS.items() if "EraseAddress" in service.methods_by_name]


def stub_of(mesh: MeshForTests, name: str, caller: str) -> Any:
    """Return the stub of a service with the key of `caller`."""
    module = import_module(f"solo60.{name}.v1.{name}_pb2_grpc")
    return mesh.stub(getattr(module, f"{name.capitalize()}ServiceStub"), caller=caller)


def request_of(name: str, message: str, **fields: Any) -> Any:
    """Return a request of a service."""
    return getattr(import_module(f"solo60.{name}.v1.{name}_pb2"), message)(**fields)


def event(user_id: str = "") -> dict[str, dict[str, str]]:
    """Return the fields of a request with the event, by default about an unknown user."""
    return {"event": {"user_id": user_id or str(uuid4())}}


def test_every_service_with_personal_data_erases_it() -> None:
    """Each service other than user and gym subscribes to UserErased. All but payment can erase an address."""
    assert set(WITH_EVENT) == set(SERVICES) - {"user", "gym"}
    assert set(WITH_ADDRESS) == set(WITH_EVENT) - {"payment"}


async def test_erasures_of_unknown_persons_succeed_and_can_be_repeated(mesh: MeshForTests) -> None:
    """The user service may call each handler, any number of times, and also for a person without data there."""
    for name in WITH_EVENT:
        request = request_of(name, "OnUserErasedRequest", **event())
        for _ in range(2):
            await stub_of(mesh, name, "user").OnUserErased(request)
    for name in WITH_ADDRESS:
        for email in ("nobody@example.org", "not an address"):
            await stub_of(mesh, name, "user").EraseAddress(request_of(name, "EraseAddressRequest", email=email))


async def test_malformed_erasures_name_their_field(mesh: MeshForTests) -> None:
    """Each handler rejects a request without its event, a malformed id, and an empty or overlong address."""
    for name in WITH_EVENT:
        for fields, field in (({}, "event"), (event("ada"), "event.user_id")):
            with pytest.raises(InvalidRequest) as refusal:
                await stub_of(mesh, name, "user").OnUserErased(request_of(name, "OnUserErasedRequest", **fields))
            assert fields_of(refusal.value) == [field]
    for name in WITH_ADDRESS:
        for email in ("", "a" * 255, "a\nb"):
            with pytest.raises(InvalidRequest) as refusal:
                await stub_of(mesh, name, "user").EraseAddress(request_of(name, "EraseAddressRequest", email=email))
            assert fields_of(refusal.value) == ["email"]


async def test_only_the_user_service_may_erase(mesh: MeshForTests) -> None:
    """The gym service lacks the scope for each handler."""
    for name in WITH_EVENT:
        with pytest.raises(ScopeMissing):
            await stub_of(mesh, name, "gym").OnUserErased(request_of(name, "OnUserErasedRequest", **event()))
    for name in WITH_ADDRESS:
        request = request_of(name, "EraseAddressRequest", email="ada@example.org")
        with pytest.raises(ScopeMissing):
            await stub_of(mesh, name, "gym").EraseAddress(request)
