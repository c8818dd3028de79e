from __future__ import annotations

from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from buf.validate import validate_pb2
from contracts.errors import InvalidRequest, SessionNotFound
from contracts.method import find_method
from contracts.pages import is_list
from contracts.services import MESH_SERVICES, SERVICES
from solo60.common.v1.period_pb2 import Period

if TYPE_CHECKING:
    from google.protobuf.descriptor import MethodDescriptor
    from google.protobuf.message import Message

    from mesh.serving.channel import StubClass
    from mesh.serving.service import Service
    from tests.support.serving import Serve

LISTS = [method for service in (*SERVICES.values(), *MESH_SERVICES) for method in service.methods if is_list(method)]
# Every service serves the mesh's own contracts.
ANY_SERVICE = "gym"
AN_HOUR = Period(start_time=Timestamp(seconds=0), end_time=Timestamp(seconds=3600))


def request_with(method: MethodDescriptor, **fields: Any) -> Message:
    """Return a request with random ids in the fields that must be UUIDs, and an hour in required periods."""
    ids = {
        field.name: str(uuid4())
        for field in method.input_type.fields
        if field.GetOptions().Extensions[validate_pb2.field].string.uuid
    }
    periods = {
        field.name: AN_HOUR
        for field in method.input_type.fields
        if field.message_type is Period.DESCRIPTOR and field.GetOptions().Extensions[validate_pb2.field].required
    }
    request_type = find_method(f"/{method.containing_service.full_name}/{method.name}").request_type
    return request_type(**{**ids, **periods, **fields})


def service_of(method: MethodDescriptor) -> Service:
    """Return a service that serves a method."""
    package = method.containing_service.file.package.split(".")[1]
    name = package if package in SERVICES else ANY_SERVICE
    return import_module(f"services.{name}.app").SERVICE  # type: ignore[no-any-return]  # looked up by name


def stub_of(method: MethodDescriptor) -> StubClass[Any]:
    """Return the generated stub of a method's service."""
    module = method.containing_service.file.name.removesuffix(".proto").replace("/", ".")
    stubs = vars(import_module(f"{module}_pb2_grpc"))
    return stubs[f"{method.containing_service.name}Stub"]  # type: ignore[no-any-return]  # looked up by name


@pytest.mark.requirement("C3")
@pytest.mark.parametrize("method", LISTS, ids=lambda method: f"{method.containing_service.name}.{method.name}")
async def test_every_list_follows_aip_158(serve: Serve, method: MethodDescriptor) -> None:
    """Every list accepts a large page size, and rejects a negative one and an unknown page token by field (AIP-158)."""
    service = service_of(method)
    mesh = await serve(service)
    call = getattr(mesh.stub(stub_of(method), at=service.name), method.name)

    for page_size in (101, 2**31 - 1):
        with suppress(SessionNotFound):  # the session of ListGuests does not exist
            await call(request_with(method, page_size=page_size))
    for field, value in (("page_size", -1), ("page_token", "0" * 32), ("page_token", uuid4().hex), ("page_token", "1")):
        with pytest.raises(InvalidRequest) as refusal:
            await call(request_with(method, **{field: value}))
        assert [violation.field for violation in refusal.value.violations] == [field]
