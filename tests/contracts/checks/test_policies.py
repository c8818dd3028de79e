from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf import text_format
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto, MethodOptions

from contracts.checks.run import check
from solo60.mesh.v1 import policy_pb2
from tests.support.images import image_of

if TYPE_CHECKING:
    from contracts.checks.finding import Finding

GOOD = 'deadline {seconds: 1} scopes: "test.read"'
METHOD = "acme.test.v1.TestService/Do"
OTHER = "acme.test.v1.OtherService/Do"
ONE, MANY = FieldDescriptorProto.LABEL_OPTIONAL, FieldDescriptorProto.LABEL_REPEATED
NOW = datetime(2026, 12, 1, tzinfo=UTC)
RETRY, HEDGE = f"{GOOD} retry", f"{GOOD} hedge"
Level = MethodOptions.IdempotencyLevel
NO_EFFECT, IDEMPOTENT = MethodOptions.NO_SIDE_EFFECTS, MethodOptions.IDEMPOTENT
UNKNOWN = MethodOptions.IDEMPOTENCY_UNKNOWN


def findings(policy: str, level: Level.ValueType = NO_EFFECT) -> list[Finding]:
    """Declare two services with one method each, and check them. The first method has `policy`, as protobuf text."""
    file = FileDescriptorProto(name="test.proto", package="acme.test.v1", syntax="proto3")
    file.dependency.append(policy_pb2.DESCRIPTOR.name)
    file.message_type.add(name="Inner").field.add(
        name="number", number=1, type=FieldDescriptorProto.TYPE_INT32, label=ONE
    )
    request = file.message_type.add(name="Request")
    kind: dict[str, Any] = {"type": FieldDescriptorProto.TYPE_MESSAGE, "type_name": ".acme.test.v1.Inner"}
    request.field.add(name="inner", number=1, label=ONE, **kind)
    request.field.add(name="inners", number=2, label=MANY, **kind)
    for service, text in (("TestService", policy), ("OtherService", 'deadline {nanos: 1} scopes: "test.read"')):
        method = file.service.add(name=service).method.add(
            name="Do", input_type=".acme.test.v1.Request", output_type=".acme.test.v1.Request"
        )
        method.options.idempotency_level = level if service == "TestService" else NO_EFFECT
        text_format.Parse(text, method.options.Extensions[policy_pb2.policy])
    return check(image_of(file), NOW)


@pytest.mark.parametrize(
    ("policy", "id_", "words"),
    [
        ('deadline {seconds: 1000000000000} scopes: "test.read"', "DEADLINE_RANGE", "Duration is out of range"),
        (f"{RETRY} {{max_attempts: 1}}", "RETRY_RANGE", "retry.max_attempts must be 2 to 5"),
        (f"{RETRY} {{initial_backoff {{nanos: -1}}}}", "RETRY_BACKOFF", "must not be negative"),
        (f"{RETRY} {{max_backoff {{seconds: 3601}}}}", "RETRY_BACKOFF", "max_backoff must be at most 3600 s"),
        (f"{RETRY} {{backoff_multiplier: inf}}", "RETRY_BACKOFF", "backoff_multiplier must be 0.000001 to 1000000"),
        (f"{RETRY} {{backoff_multiplier: 1e-7}}", "RETRY_BACKOFF", "backoff_multiplier must be 0.000001 to 1000000"),
        (f"{GOOD} deprecation {{sunset {{seconds: 253402300800}}}}", "DEPRECATION_RANGE", "a time in the years 1 to"),
        (f"{RETRY} {{codes: OK}}", "RETRY_CODE", "retry.codes: OK is not a retryable code"),
        (f"{RETRY} {{codes: 99}}", "RETRY_CODE", "retry.codes: 99 is not a retryable code"),
        (f"{HEDGE} {{delay {{}}}}", "HEDGE_RANGE", "hedge.delay must be above 0 s"),
        (f"{HEDGE} {{delay {{seconds: 1}} max_attempts: 9}}", "HEDGE_RANGE", "hedge.max_attempts must be 2 to 5"),
        (f"{GOOD} own_work {{seconds: -1}}", "OWN_WORK_RANGE", "own_work must be above 0 s"),
        (f'{GOOD} calls: "{OTHER}" parallel_calls {{calls: "{OTHER}"}}', "PARALLEL_CALLS_RANGE", "at least 2"),
        (f'{GOOD} calls: "{OTHER.lower()}"', "CALLS_UNKNOWN", f"Service/Method, such as {OTHER}."),
        (f'{GOOD} calls: "x.Y/Z"', "CALLS_UNKNOWN", "there is no method x.Y/Z; write it as package.Service/Method."),
        (f'{GOOD} subscribes_to: "acme.test.v1.Left"', "SUBSCRIBES_TO_FIELD", 'no field "event" of type'),
        (f"{GOOD} errors: ERROR_REASON_UNSPECIFIED", "ERRORS_PLATFORM", "ERROR_REASON_UNSPECIFIED belongs"),
        (f"{GOOD} errors: 90", "ERRORS_PLATFORM", "90 belongs"),
        *(
            (
                f'{GOOD} rate_limit {{calls_per_second: 1 per_field: "{path}"}}',
                "RATE_LIMIT_FIELD",
                f'no single-valued field "{path}"',
            )
            for path in ("user", "inner", "inner.no", "inners.number", "inner.number.x")
        ),
    ],
)
def test_an_invalid_policy_is_reported(policy: str, id_: str, words: str) -> None:
    """An invalid policy gives exactly one finding, which names the method and the broken rule."""
    (finding,) = findings(policy)

    assert finding.id == id_
    assert finding.message.startswith(f"{METHOD}: ")
    assert words in finding.message


@pytest.mark.parametrize(
    ("policy", "level"),
    [
        (GOOD, UNKNOWN),
        (f"{RETRY} {{}}", IDEMPOTENT),
        (f"{RETRY} {{max_attempts: 5 codes: [UNAVAILABLE, ABORTED, RESOURCE_EXHAUSTED]}}", NO_EFFECT),
        (f"{RETRY} {{}} idempotency: IDEMPOTENCY_REQUIRED", UNKNOWN),
        (f"{HEDGE} {{delay {{nanos: 1}}}}", NO_EFFECT),
        (f'{GOOD} rate_limit {{calls_per_second: 0.1 per_field: "inner.number"}}', UNKNOWN),
        (f'{GOOD} calls_later: "{METHOD}"', IDEMPOTENT),
        (f'{GOOD} calls: "{OTHER}" errors: ERROR_REASON_SLOT_TAKEN', UNKNOWN),
        (f'{GOOD} deprecation {{sunset {{seconds: 1}} replaced_by: "{OTHER}"}}', UNKNOWN),
        ('deadline {nanos: 1000000} scopes: "test.read"', NO_EFFECT),
        (f"{GOOD} own_work {{seconds: 1}}", UNKNOWN),
    ],
)
def test_a_valid_policy_passes(policy: str, level: Level.ValueType) -> None:
    """The checks accept every policy that the comments of policy.proto allow.

    A method without callers may be past its sunset. A method without calls may have a deadline below the default of
    own_work.
    """
    assert findings(policy, level) == []
