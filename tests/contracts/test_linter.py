from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, text_format
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, MethodOptions

import contracts.scopes
from contracts.linter import lint, lint_files, main, warnings_of_files
from contracts.method import read_method
from contracts.scopes import EXTERNAL_SCOPES, all_scopes, scopes_of_caller, warnings_of_scopes
from contracts.services import MESH_SERVICES, SERVICES
from contracts.workspace import read_contracts
from solo60.mesh.v1 import policy_pb2

if TYPE_CHECKING:
    from collections.abc import Iterable

    from google.protobuf.descriptor import FileDescriptor, MethodDescriptor

ROOT = Path(__file__).parents[2]
GOOD = 'deadline {seconds: 1} scopes: "test.read"'
METHOD = "solo60.test.v1.TestService/Do"
OTHER = "solo60.test.v1.OtherService/Do"
ONE = FieldDescriptorProto.LABEL_OPTIONAL
Level = MethodOptions.IdempotencyLevel


def methods(policy: str | None, level: Level.ValueType = MethodOptions.IDEMPOTENCY_UNKNOWN) -> list[MethodDescriptor]:
    """Declare two services with one method each. The first method carries `policy`, written as protobuf text."""
    file = descriptor_pb2.FileDescriptorProto(name="test.proto", package="solo60.test.v1", syntax="proto3")
    inner = file.message_type.add(name="Inner")
    inner.field.add(
        name="id", number=1, type=FieldDescriptorProto.TYPE_STRING, label=FieldDescriptorProto.LABEL_OPTIONAL
    )
    request = file.message_type.add(name="Request")
    kind: dict[str, Any] = {"type": FieldDescriptorProto.TYPE_MESSAGE, "type_name": ".solo60.test.v1.Inner"}
    request.field.add(name="inner", number=1, label=ONE, **kind)
    request.field.add(name="inners", number=2, label=FieldDescriptorProto.LABEL_REPEATED, **kind)
    for service, text in (("TestService", policy), ("OtherService", GOOD)):
        method = file.service.add(name=service).method.add(
            name="Do", input_type=".solo60.test.v1.Request", output_type=".solo60.test.v1.Request"
        )
        if service == "TestService" and level:
            method.options.idempotency_level = level
        if text is not None:
            text_format.Parse(text, method.options.Extensions[policy_pb2.policy])
            method.options.Extensions[policy_pb2.policy].SetInParent()
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return [
        method
        for name in ("TestService", "OtherService")
        for method in pool.FindServiceByName(f"solo60.test.v1.{name}").methods
    ]


RETRY = f"{GOOD} retry"
HEDGE = f"{GOOD} hedge"
NO_EFFECT = MethodOptions.NO_SIDE_EFFECTS
BROKEN = [
    (None, "has no policy"),
    ('scopes: "test.read"', "deadline value is required"),
    ('deadline {seconds: -1} scopes: "test.read"', "deadline must be above 0 s and at most 3600 s"),
    ('deadline {seconds: 3601} scopes: "test.read"', "deadline must be above 0 s and at most 3600 s"),
    ('deadline {seconds: 1000000000000} scopes: "test.read"', "deadline: Duration is out of range"),
    (f"{GOOD} idle_timeout {{seconds: 1}}", "idle_timeout is only allowed for streams"),
    ("deadline {seconds: 1}", "scopes must not be empty"),
    ('deadline {seconds: 1} scopes: "read"', 'scopes: "read" is not of the form "service.verb"'),
    ('deadline {seconds: 1} scopes: "Test.*"', 'scopes: "Test.*" is not of the form "service.verb"'),
    (f"{RETRY} {{max_attempts: 1}}", "retry.max_attempts must be 2 to 5"),
    (f"{RETRY} {{max_attempts: 6}}", "retry.max_attempts must be 2 to 5"),
    (f"{RETRY} {{backoff_multiplier: -1}}", "retry.backoff_multiplier must not be negative"),
    (f"{RETRY} {{initial_backoff {{nanos: -1}}}}", "retry.initial_backoff and max_backoff must not be negative"),
    (f"{RETRY} {{max_backoff {{seconds: -1}}}}", "retry.initial_backoff and max_backoff must not be negative"),
    (f"{RETRY} {{initial_backoff {{seconds: 2}}}}", "retry.initial_backoff must not be longer than max_backoff"),
    (f"{RETRY} {{codes: OK}}", "retry.codes: OK is not a retryable code (AIP-194)"),
    (f"{RETRY} {{codes: [UNAVAILABLE, INTERNAL]}}", "retry.codes: INTERNAL is not a retryable code"),
    (f"{HEDGE} {{}}", "hedge.delay value is required"),
    (f"{HEDGE} {{delay {{}}}}", "hedge.delay must be above 0 s"),
    (f"{HEDGE} {{delay {{seconds: 1}} max_attempts: 9}}", "hedge.max_attempts must be 2 to 5"),
    (f"{GOOD} rate_limit {{}}", "rate_limit.calls_per_second must be above 0"),
    (f'{GOOD} rate_limit {{calls_per_second: 1 per_field: "user"}}', 'no single-valued field "user"'),
    (f'{GOOD} rate_limit {{calls_per_second: 1 per_field: "inner"}}', 'no single-valued field "inner"'),
    (f'{GOOD} rate_limit {{calls_per_second: 1 per_field: "inner.no"}}', 'no single-valued field "inner.no"'),
    (f'{GOOD} rate_limit {{calls_per_second: 1 per_field: "inners.id"}}', 'no single-valued field "inners.id"'),
    (f'{GOOD} rate_limit {{calls_per_second: 1 per_field: "inner.id.x"}}', 'no single-valued field "inner.id.x"'),
    (f'{GOOD} calls: "solo60.test.v1.OtherService/No"', "calls: there is no method solo60.test.v1.OtherService/No"),
    (f'{GOOD} calls: "{METHOD}"', f"calls: {METHOD} belongs to the same service"),
    (f'{GOOD} calls: ["{OTHER}", "{OTHER}"]', f"calls: {OTHER} is listed more than once"),
    (f'{GOOD} calls_later: "a/B"', "calls_later: there is no method a/B"),
    (f'{GOOD} calls_later: "{OTHER}"', f"calls_later: {OTHER} needs an idempotency_level or IDEMPOTENCY_REQUIRED"),
    (f'{GOOD} calls_later: ["{METHOD}", "{METHOD}"]', f"calls_later: {METHOD} is listed more than once"),
    (f'{GOOD} subscribes_to: "a.B"', 'subscribes_to: the request has no field "event" of type a.B'),
    (f"{GOOD} errors: ERROR_REASON_INTERNAL", "errors: ERROR_REASON_INTERNAL belongs to the mesh"),
    (f"{GOOD} errors: ERROR_REASON_UNSPECIFIED", "errors: ERROR_REASON_UNSPECIFIED belongs to the mesh"),
    (
        f"{GOOD} errors: [ERROR_REASON_SLOT_TAKEN, ERROR_REASON_SLOT_TAKEN]",
        "SLOT_TAKEN is listed more than once",
    ),
    (f"{GOOD} deprecation {{}}", "deprecation.sunset value is required"),
    (
        f'{GOOD} deprecation {{sunset {{seconds: 1}} replaced_by: "a/B"}}',
        "replaced_by: there is no method a/B",
    ),
]


@pytest.mark.parametrize(("policy", "rule"), BROKEN)
def test_an_invalid_policy_is_reported_with_its_method(policy: str | None, rule: str) -> None:
    """An invalid policy gives exactly one problem, which names the method and the broken rule."""
    problems = lint(methods(policy, NO_EFFECT))

    assert len(problems) == 1
    assert problems[0].startswith(f"{METHOD}: ")
    assert rule in problems[0]


@pytest.mark.parametrize(
    ("policy", "level"),
    [
        (GOOD, MethodOptions.IDEMPOTENCY_UNKNOWN),
        (f"{RETRY} {{}}", MethodOptions.IDEMPOTENT),
        (f"{RETRY} {{max_attempts: 5 codes: [UNAVAILABLE, ABORTED, RESOURCE_EXHAUSTED]}}", NO_EFFECT),
        (f"{RETRY} {{}} idempotency: IDEMPOTENCY_REQUIRED", MethodOptions.IDEMPOTENCY_UNKNOWN),
        (f"{HEDGE} {{delay {{nanos: 1}}}}", NO_EFFECT),
        (f'{GOOD} rate_limit {{calls_per_second: 0.1 per_field: "inner.id"}}', MethodOptions.IDEMPOTENCY_UNKNOWN),
        (f'{GOOD} calls_later: "{METHOD}"', MethodOptions.IDEMPOTENT),
        (f'{GOOD} calls: "{OTHER}" errors: ERROR_REASON_SLOT_TAKEN', MethodOptions.IDEMPOTENCY_UNKNOWN),
        (f'{GOOD} deprecation {{sunset {{seconds: 1}} replaced_by: "{OTHER}"}}', MethodOptions.IDEMPOTENCY_UNKNOWN),
    ],
)
def test_a_valid_policy_passes(policy: str, level: Level.ValueType) -> None:
    """The linter accepts every policy that the comments of policy.proto allow."""
    assert lint(methods(policy, level)) == []


def test_a_retry_needs_an_idempotent_method() -> None:
    """The linter rejects a retry of a method without an idempotency level or a required idempotency key."""
    assert lint(methods(f"{RETRY} {{}}")) == [
        f"{METHOD}: retry needs an idempotency_level or IDEMPOTENCY_REQUIRED, otherwise a retry may act twice."
    ]


@pytest.mark.parametrize("level", [MethodOptions.IDEMPOTENCY_UNKNOWN, MethodOptions.IDEMPOTENT])
def test_a_hedge_needs_a_method_without_side_effects(level: Level.ValueType) -> None:
    """The linter rejects hedging unless the method is declared free of side effects."""
    assert lint(methods(f"{HEDGE} {{delay {{seconds: 1}}}}", level)) == [
        f"{METHOD}: hedge needs idempotency_level NO_SIDE_EFFECTS."
    ]


@pytest.mark.parametrize(
    ("scopes", "scopes_of_keys", "suspicious"),
    [
        ('"test.raed"', {"test.read"}, ["test.raed"]),
        ('"test.raed" scopes: "test.raed"', (), ["test.raed", "test.read"]),
        ('"test.read"', (), []),
        ('"test.raed"', {"test.raed", "test.read"}, []),
    ],
    ids=["one method", "twice in one method", "two methods", "service keys"],
)
def test_a_scope_used_by_one_method_alone_is_a_warning(
    scopes: str, scopes_of_keys: Iterable[str], suspicious: list[str]
) -> None:
    """A scope that only one method and no service key uses is a warning.

    The scope is no error, because its key may be issued to a caller from outside.
    """
    declared = methods(f"deadline {{seconds: 1}} scopes: {scopes}")

    warnings = warnings_of_scopes([read_method(each) for each in declared], frozenset(scopes_of_keys))

    assert [warning.split('"')[1] for warning in warnings] == suspicious
    assert all(warning.startswith((METHOD, OTHER)) for warning in warnings)
    assert lint(declared) == []


@pytest.mark.parametrize(("scope", "suspicious"), [("test.read", []), ("tets.read", ["tets.read"])])
def test_the_only_scope_of_a_new_service_is_no_warning(scope: str, suspicious: list[str]) -> None:
    """The scope of a service with one method is a warning only if it begins with another name than the service's."""
    declared = methods(f'deadline {{seconds: 1}} scopes: "{scope}"')[:1]

    warnings = warnings_of_scopes([read_method(each) for each in declared], frozenset())

    assert [warning.split('"')[1] for warning in warnings] == suspicious


@pytest.fixture(scope="module")
def our_contracts() -> list[FileDescriptor]:
    """Compile our contracts once for all tests."""
    return read_contracts(ROOT)


def test_our_scopes_raise_no_warning(our_contracts: list[FileDescriptor]) -> None:
    """Each of our scopes is used by a second method or by a service key, or is listed for callers from outside."""
    assert warnings_of_files(our_contracts) == []
    assert not EXTERNAL_SCOPES & frozenset().union(*map(scopes_of_caller, SERVICES))
    assert all_scopes() > EXTERNAL_SCOPES


def test_the_linter_prints_warnings_and_passes(
    our_contracts: list[FileDescriptor], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The linter prints its warnings to standard error and does not fail."""
    monkeypatch.setattr(contracts.scopes, "EXTERNAL_SCOPES", frozenset())
    monkeypatch.chdir(ROOT)

    main()

    warnings = warnings_of_files(our_contracts)
    assert len(warnings) >= len(EXTERNAL_SCOPES)
    assert capsys.readouterr().err == "".join(f"warning: {warning}\n" for warning in warnings)


@pytest.mark.requirement("C1", "C6")
def test_our_contracts_pass_the_linter(our_contracts: list[FileDescriptor]) -> None:
    """The linter finds no problem in our contracts."""
    assert lint_files(our_contracts) == []


def test_every_service_is_linted(our_contracts: list[FileDescriptor]) -> None:
    """The linter finds all our services in the modules of buf.yaml, so that a new contract is checked too."""
    found = {service.full_name for file in our_contracts for service in file.services_by_name.values()}

    known = {service.full_name for service in (*SERVICES.values(), *MESH_SERVICES)}
    assert found == known | {"solo60.example.v1.EchoService"}
