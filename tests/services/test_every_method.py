"""Every method of every service: the callers that may call it, and a bad request for each rule of its contract."""

from __future__ import annotations

import re
from contextlib import suppress
from functools import cache
from importlib import import_module
from random import Random
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import protovalidate
import pytest
import pytest_asyncio
from google.protobuf.timestamp_pb2 import Timestamp

from buf.validate import validate_pb2
from cli.method_names import short_method_name
from contracts.errors import InvalidRequest, ScopeMissing, ServiceError, Unauthenticated
from contracts.scopes import scopes_of_caller
from contracts.service_error import PLATFORM_REASONS
from contracts.services import SERVICE_NAMES, SERVICES, all_methods, short_service_name
from contracts.violations import violations_of
from interceptors.idempotency import IDEMPOTENCY_KEY
from solo60.common.v1.errors_pb2 import ErrorReason
from tests.foreign.boundaries import messages_around

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping

    from google.protobuf.message import Message

    from contracts.errors import Violation
    from contracts.method import Method
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
        if not violations_of(request_with_unknown_ids(method)) and short_method_name(method) not in FOR_ANY_ID
    ]


def request_with_unknown_ids(method: Method) -> Message:
    """Return a request with a random id in each field for one."""
    ids = {
        field.name: str(uuid4())
        for field in method.request_type.DESCRIPTOR.fields
        if field.GetOptions().Extensions[validate_pb2.field].string.uuid
    }
    return method.request_type(**{**ids, **MORE_FIELDS.get(short_method_name(method), {})})


METHODS = pytest.mark.parametrize("method", all_methods().values(), ids=short_method_name)
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
    request = next(iter(bad_requests(method).values()), method.request_type())
    for caller in SERVICE_NAMES:
        may_call = method.policy.scopes <= scopes_of_caller(caller)
        assert await is_admitted(mesh, method, request, caller) == may_call, caller


@pytest.mark.parametrize(
    "method", {each.service: each for each in all_methods().values()}.values(), ids=short_method_name
)
async def test_a_method_needs_a_key(mesh: MeshForTests, method: Method) -> None:
    """A call without a key is UNAUTHENTICATED."""
    mesh.keys[STRANGER] = ""

    with pytest.raises(Unauthenticated):
        await call(mesh, method, method.request_type(), STRANGER)


@METHODS
async def test_each_rule_rejects_a_bad_request(mesh: MeshForTests, method: Method) -> None:
    """A request that breaks one rule is rejected with the name of its field, and changes nothing in the database."""
    service = short_service_name(method.service)
    before = await content_of(mesh, service)

    for rule, request in bad_requests(method).items():
        with pytest.raises(InvalidRequest) as rejection:
            await call(mesh, method, request)
        assert rule in set(map(rule_of, rejection.value.violations))

    assert await content_of(mesh, service) == before


@pytest.mark.parametrize("method", methods_of_records(), ids=short_method_name)
async def test_an_unknown_record_is_not_found(mesh: MeshForTests, method: Method) -> None:
    """A request that names unknown records fails with an error that the method lists."""
    with pytest.raises(ServiceError) as rejection:
        await call(mesh, method, request_with_unknown_ids(method))

    assert rejection.value.reason in method.policy.errors - PLATFORM_REASONS


@METHODS
async def test_each_field_with_a_rule_has_a_bad_request(method: Method) -> None:
    """The generated requests break the rules of every field that has a rule."""
    broken = {field.partition(".")[0].partition("[")[0] for field, _ in bad_requests(method)}

    assert fields_with_rules(method) <= broken


@cache
def bad_requests(method: Method) -> Mapping[tuple[str, str], Message]:
    """Return a request for each rule, by the broken field and the rule's description, that breaks few other rules."""
    broken: list[tuple[list[Violation], Message]] = []
    for message in _messages(method):
        with suppress(protovalidate.EvaluationError):  # a rule overflows
            broken.append((violations_of(message), message))
    found: dict[tuple[str, str], Message] = {}
    for violations, message in sorted(broken, key=lambda each: len(each[0])):
        for violation in violations:
            found.setdefault(rule_of(violation), message)
    return found


def rule_of(violation: Violation) -> tuple[str, str]:
    """Return the field and the description of a violation; all elements of a list are one field."""
    return re.sub(r"\[\d+\]", "[]", violation.field), violation.description


def _messages(method: Method) -> Iterator[Message]:
    # Generated code types the descriptor as that of either implementation of protobuf.
    descriptor: Any = method.request_type.DESCRIPTOR
    return messages_around(descriptor, Random(0), 0)  # noqa: S311 - not a secret


def fields_with_rules(method: Method) -> set[str]:
    """Return the fields of a request whose rules some value breaks."""
    return {
        field.name for field in method.request_type.DESCRIPTOR.fields if str(field.GetOptions()).count("buf.validate")
    }


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


async def content_of(mesh: MeshForTests, service: str) -> dict[str, str]:
    """Return a digest of each table in a service's database."""
    async with mesh.database(service).connection() as connection:
        tables = [
            row["tablename"]
            for row in await connection.fetch("select tablename from pg_tables where schemaname = 'public'")
        ]
        return {
            table: await connection.fetchval(
                f"select coalesce(md5(string_agg(t::text, '\\n' order by t::text)), '') from {table} as t"  # noqa: S608 - names of tables
            )
            for table in tables
        }
