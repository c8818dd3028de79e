from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf import json_format
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet

from contracts.documents.catalog import Catalog
from contracts.documents.policy_table import policy_as_json, policy_rows, reasons_of
from contracts.image import Image, name_of
from contracts.policy import Criticality, Policy, read_policy
from solo60.mesh.v1 import policy_pb2
from solo60.mesh.v1.policy_pb2 import Hedge, MethodPolicy, RateLimit, Retry
from tests.contracts.documents.compiled import catalog_of, catalog_of_ours, image_of_ours

if TYPE_CHECKING:
    from google.protobuf.descriptor import MethodDescriptor

METHODS = {name_of(method): method for method in catalog_of_ours().methods()}
SERVICE = """
message M {{}}
// Service.
service S {{
  // Does it.
  rpc Do(M) returns (M) {{ option (solo60.mesh.v1.policy) = {{ {policy} }}; }}
}}
"""


def policy_with(**options: Any) -> Policy:
    """Return a policy as the mesh reads it."""
    file = FileDescriptorProto(name="policy.proto", package="policy")
    file.message_type.add(name="M")
    method = file.service.add(name="S").method.add(name="Do", input_type=".policy.M", output_type=".policy.M")
    method.options.Extensions[policy_pb2.policy].MergeFrom(MethodPolicy(**options))
    return read_policy(Image(FileDescriptorSet(file=[file])).methods["policy.S/Do"])


def rows_of(catalog: Catalog, method: MethodDescriptor) -> dict[str, str]:
    """Return the rows of a policy by name."""
    return {row.name: row.value for row in policy_rows(catalog, method, lambda name: name)}


def test_defaults_in_comments_are_those_of_the_mesh() -> None:
    """Each default that a comment of policy.proto names is the default that the mesh applies."""
    catalog = catalog_of(SERVICE.format(policy="retry {} hedge {} rate_limit {}"))
    [method] = catalog.methods()
    documented = policy_as_json(catalog, method) or {}
    policy = policy_with(retry=Retry(), hedge=Hedge(), rate_limit=RateLimit())

    assert policy.retry is not None
    assert policy.hedge is not None
    assert policy.rate_limit is not None
    assert documented["retry"] == {
        "max_attempts": policy.retry.max_attempts,
        "initial_backoff": f"{policy.retry.initial_backoff_s:g}s",
        "max_backoff": f"{policy.retry.max_backoff_s:g}s",
        "backoff_multiplier": policy.retry.backoff_multiplier,
        "codes": [code.name for code in policy.retry.codes],
    }
    assert documented["hedge"] == {"max_attempts": policy.hedge.max_attempts}
    assert documented["rate_limit"] == {"burst": policy.rate_limit.burst}
    assert Criticality[documented["criticality"].removeprefix("CRITICALITY_")] is policy.criticality


@pytest.mark.parametrize("name", METHODS)
def test_the_json_of_a_policy_repeats_each_declared_value(name: str) -> None:
    """The JSON of each method's policy is the declared policy with nothing but defaults added."""
    documented = policy_as_json(catalog_of_ours(), METHODS[name]) or {}
    declared: Any = catalog_of_ours().option_of(METHODS[name], "solo60.mesh.v1.policy")
    read = json_format.ParseDict(documented, type(declared)())

    assert read_without_defaults(read, declared) == declared


def read_without_defaults(read: Any, declared: Any) -> Any:
    """Return `read` without the fields that `declared` does not set."""
    for field, value in read.ListFields():
        if field.name not in {each.name for each, _ in declared.ListFields()}:
            read.ClearField(field.name)
        elif field.message_type is not None and not field.is_repeated:
            read_without_defaults(value, getattr(declared, field.name))
    return read


def test_a_table_links_both_ends_of_a_call() -> None:
    """The caller's table names its callees, and the callee's table names its callers."""
    catalog = catalog_of_ours()
    booking = rows_of(catalog, METHODS["solo60.session.v1.SessionService/BookSession"])
    mail = rows_of(catalog, METHODS["solo60.session.v1.SessionService/SendSessionMail"])

    assert "solo60.gym.v1.GymService/QuotePrice" in booking["calls"]
    assert "solo60.session.v1.SessionService/SendSessionMail" in booking["calls later"]
    assert "solo60.session.v1.SessionService/BookSession" in mail["called later by"]
    assert booking["personal data"].startswith("request `payment_method.card.card_token`")


def test_a_table_shows_defaults() -> None:
    """A table marks defaults, and describes the options that a method does not declare."""
    rows = rows_of(catalog_of_ours(), METHODS["solo60.gym.v1.GymService/GetGym"])

    assert rows["criticality"] == "NORMAL (default)"
    assert rows["retry"].startswith("max attempts 3, initial backoff 50 ms, max backoff 1 s")
    assert "rate limit: no limit other than the server's capacity" in rows["not declared"]


def test_a_new_option_appears_by_itself() -> None:
    """An option that this code does not know is in the table and in the JSON of a policy."""
    image = FileDescriptorSet.FromString(image_of_ours().SerializeToString())
    policy_file = next(file for file in image.file if file.name == "solo60/mesh/v1/policy.proto")
    policy = next(message for message in policy_file.message_type if message.name == "MethodPolicy")
    policy.field.add(
        name="parallel_things",
        number=999,
        type=FieldDescriptorProto.TYPE_INT32,
        label=FieldDescriptorProto.LABEL_OPTIONAL,
    )
    gym_file = next(file for file in image.file if file.name == "solo60/gym/v1/gym.proto")
    options = gym_file.service[0].method[0].options
    # Field 999 of the policy, which is extension 60060: tag 7992 as varint, value 7.
    options.MergeFromString(b"\xe2\xa9\x1d\x03\xb8\x3e\x07")
    catalog = Catalog(Image(image, [gym_file.name]))
    method = next(catalog.methods())

    assert rows_of(catalog, method)["parallel things"] == "7"
    assert (policy_as_json(catalog, method) or {})["parallel_things"] == 7


def test_a_reason_has_its_code_and_meaning() -> None:
    """A declared reason has the status code of its option and the meaning of its comment."""
    [reason] = reasons_of(catalog_of_ours(), METHODS["solo60.gym.v1.GymService/GetGym"])

    assert (reason.name, reason.code, reason.meaning) == ("GYM_NOT_FOUND", "NOT_FOUND", "There is no gym with this id.")
