"""Every method of every service: the callers that may call it, and a bad request for each rule of its contract."""

from __future__ import annotations

import asyncio
from importlib import import_module
from operator import attrgetter
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
import pytest_asyncio
from google.protobuf.descriptor_pb2 import MethodOptions
from google.protobuf.timestamp_pb2 import Timestamp

from buf.validate import validate_pb2
from contracts.errors import InvalidRequest, ScopeMissing, ServiceError, Unauthenticated
from contracts.method import read_method
from contracts.scopes import scopes_of_caller
from contracts.service_error import PLATFORM_REASONS
from contracts.services import SERVICE_NAMES, SERVICES, all_methods, short_service_name
from contracts.testing.cases import cases_of, uncovered_rules
from contracts.violations import violations_of
from interceptors.idempotency import IDEMPOTENCY_KEY
from solo60.common.v1.errors_pb2 import ErrorReason
from tests.support.violations import fields_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from google.protobuf.message import Message

    from contracts.errors import Violation
    from contracts.method import Method
    from contracts.testing.cases import Case
    from tests.support.serving import MeshForTests, Serve

pytestmark = pytest.mark.asyncio(loop_scope="module")

# Fields that a request needs besides its ids.
MORE_FIELDS: dict[str, dict[str, Any]] = {
    "session.RejectSession": {"reason": "Too loud."},
    "session.SendSessionMail": {
        "template_key": "SESSION_BOOKED",
        "invitation_id": None,
        "entry_id": None,
        "offer_id": None,
    },
    "subscription.AllocateMonthlyCredits": {"month": "2026-11"},
    "subscription.SendSubscriptionMail": {"mail": 1, "time": Timestamp(seconds=1)},
}
# A refund voids an unknown session, so that a late charge is rejected.
FOR_ANY_ID = {"payment.RefundSession"}
KEY = ((IDEMPOTENCY_KEY, "every-method"),)


def methods_of_records() -> list[Method]:
    """Return the methods that reject an unknown record, and need no more than its id."""
    return [
        method
        for method in all_methods().values()
        if any(ErrorReason.Name(reason).endswith("_NOT_FOUND") for reason in method.policy.errors)
        if not violations_of(request_with_unknown_ids(method)) and method.short_name not in FOR_ANY_ID
    ]


def request_with_unknown_ids(method: Method) -> Message:
    """Return a request with a random id in each field for one."""
    ids = {
        field.name: str(uuid4())
        for field in method.request_type.DESCRIPTOR.fields
        if field.GetOptions().Extensions[validate_pb2.field].string.uuid
    }
    return method.request_type(**{**ids, **MORE_FIELDS.get(method.short_name, {})})


def methods_without_effects() -> list[Method]:
    """Return the methods that declare NO_SIDE_EFFECTS."""
    return [
        read_method(descriptor)
        for service in SERVICES.values()
        for descriptor in service.methods
        if descriptor.GetOptions().idempotency_level == MethodOptions.NO_SIDE_EFFECTS
    ]


METHODS = pytest.mark.parametrize("method", all_methods().values(), ids=attrgetter("short_name"))
# A service accepts only tokens that it issued.
PAGE_TOKEN = "page_token"  # noqa: S105 - the name of a field
# Caller without an API key.
STRANGER = "stranger"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def mesh(serve_module: Serve) -> AsyncIterator[MeshForTests]:
    """Start all services."""
    yield await serve_module(*(import_module(f"services.{name}.app").SERVICE for name in SERVICE_NAMES))


@METHODS
async def test_a_method_is_open_to_its_callers_only(mesh: MeshForTests, method: Method) -> None:
    """A caller whose contract names the method, or its scopes, may call it. Every other caller lacks a scope.

    The request is invalid where the contract has rules, so that an admitted call has no effect.
    """
    request = next((case.request for case in bad_requests(method)), method.request_type())
    for caller in SERVICE_NAMES:
        may_call = method.policy.scopes <= scopes_of_caller(caller)
        assert await is_admitted(mesh, method, request, caller) == may_call, caller


@pytest.mark.parametrize(
    "method", {each.service: each for each in all_methods().values()}.values(), ids=attrgetter("short_name")
)
async def test_a_method_needs_a_key(mesh: MeshForTests, method: Method) -> None:
    """A call without a key is UNAUTHENTICATED."""
    mesh.keys[STRANGER] = ""

    with pytest.raises(Unauthenticated):
        await call(mesh, method, method.request_type(), STRANGER)


@METHODS
async def test_each_rule_rejects_a_bad_request(mesh: MeshForTests, method: Method) -> None:
    """A request that breaks one rule is rejected with the name of its field, and changes nothing in any database."""
    before = await content_of(mesh)

    for case in bad_requests(method):
        with pytest.raises(InvalidRequest) as rejection:
            await call(mesh, method, case.request)
        assert (case.field, case.description) in map(field_and_rule, rejection.value.violations)

    assert await content_of(mesh) == before


@pytest.mark.parametrize("method", methods_without_effects(), ids=attrgetter("short_name"))
async def test_a_request_at_a_boundary_is_valid(mesh: MeshForTests, method: Method) -> None:
    """A request with the last accepted value of a rule gets an answer, or an error that does not name its field."""
    for case in cases_of(method.request_type):
        if case.is_valid and case.field != PAGE_TOKEN:
            assert case.field not in await rejected_fields(mesh, method, case.request), case


@pytest.mark.parametrize("method", methods_of_records(), ids=attrgetter("short_name"))
async def test_an_unknown_record_is_not_found(mesh: MeshForTests, method: Method) -> None:
    """A request that names unknown records fails with an error that the method lists."""
    with pytest.raises(ServiceError) as rejection:
        await call(mesh, method, request_with_unknown_ids(method))

    assert rejection.value.reason in method.policy.errors - PLATFORM_REASONS


@METHODS
async def test_each_rule_has_a_bad_request(method: Method) -> None:
    """The generated requests break every rule of every request."""
    assert uncovered_rules(method.request_type) == ()


def bad_requests(method: Method) -> list[Case]:
    """Return a request for each rule that breaks it and few other rules."""
    return [case for case in cases_of(method.request_type) if not case.is_valid]


def field_and_rule(violation: Violation) -> tuple[str, str]:
    """Return the field and the description of a violation."""
    return violation.field, violation.description


async def rejected_fields(mesh: MeshForTests, method: Method, request: Message) -> list[str]:
    """Call a method and return the fields that it rejects."""
    try:
        await call(mesh, method, request)
    except ServiceError as error:
        return fields_of(error)
    return []


async def is_admitted(mesh: MeshForTests, method: Method, request: Message, caller: str) -> bool:
    """Call a method and return whether the caller has its scopes."""
    try:
        await call(mesh, method, request, caller)
    except ScopeMissing:
        return False
    except ServiceError:
        return True
    return True


async def call(mesh: MeshForTests, method: Method, request: Message, caller: str = "operator") -> None:
    """Call a method; read the first message of a stream."""
    module = import_module(f"{SERVICES[short_service_name(method.service)].file.package}.{module_of(method)}_pb2_grpc")
    stub = mesh.stub(vars(module)[f"{method.service.rpartition('.')[2]}Stub"], caller)
    answer: Any = getattr(stub, method.name)(request, metadata=KEY)
    if method.response_streaming:
        await anext(aiter(answer), None)
        answer.cancel()
    else:
        await answer


def module_of(method: Method) -> str:
    """Return the name of the contract's file, without its folder and extension."""
    return SERVICES[short_service_name(method.service)].file.name.rpartition("/")[2].removesuffix(".proto")


async def content_of(mesh: MeshForTests) -> dict[str, str]:
    """Return a digest of the tables in each service's database."""
    digests = await asyncio.gather(*(_content_of(mesh, name) for name in SERVICE_NAMES))
    return dict(zip(SERVICE_NAMES, digests, strict=True))


async def _content_of(mesh: MeshForTests, service: str) -> str:
    async with mesh.database(service).connection() as connection:
        tables = [
            row["tablename"]
            for row in await connection.fetch(
                "select tablename from pg_tables where schemaname = 'public' order by tablename"
            )
        ]
        rows = " union all ".join(f"select '{table}' || t::text as row from {table} as t" for table in tables)  # noqa: S608 - names of tables
        digest = f"select coalesce(md5(string_agg(row, '\n' order by row)), '') from ({rows}) as t"  # noqa: S608 - as above
        return str(await connection.fetchval(digest))
