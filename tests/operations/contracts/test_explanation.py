from __future__ import annotations

import pytest
from google.protobuf import descriptor_pool

from contracts.method import find_method
from contracts.services import all_methods
from mesh.config import Settings
from operations.contracts.explanation import Fact, explain
from solo60.example.v1 import echo_pb2
from solo60.mesh.v1 import policy_pb2


def facts(method: str, **settings: object) -> dict[str, Fact]:
    """Explain a method given by its full name; return the facts by name."""
    found = explain(find_method(f"/{method}"), Settings(_env_file=None, **settings))  # type: ignore[arg-type, call-arg]  # any setting; pydantic-settings' own argument
    return {fact.name: fact for fact in found}


def test_each_value_names_the_contract_or_a_default_as_its_origin() -> None:
    """The explanation of a method says for each value whether the contract or a default sets it."""
    found = facts("solo60.gym.v1.GymService/GetGym")

    assert found["deadline"] == Fact("deadline", "1 s", "contract")
    assert found["retry.max_attempts"] == Fact("retry.max_attempts", "3", "contract")
    assert found["retry.initial_backoff"] == Fact("retry.initial_backoff", "50 ms", "default")
    assert found["criticality"] == Fact("criticality", "NORMAL", "default")
    assert found["errors"] == Fact("errors", "GYM_NOT_FOUND", "contract")


def test_a_setting_that_changes_the_value_of_a_contract_is_named() -> None:
    """A value changed by DEADLINE_FACTOR or RATE_LIMIT_FACTOR names the setting and the contract's value."""
    deadline = facts("solo60.gym.v1.GymService/GetGym", deadline_factor=2)["deadline"]
    rate = facts("solo60.session.v1.SessionService/InviteGuest", rate_limit_factor=10)["rate_limit.calls_per_second"]
    idle = facts(f"{echo_pb2.DESCRIPTOR.package}.EchoService/EchoMany", deadline_factor=2)["idle_timeout"]

    assert idle == Fact("idle_timeout", "2 s", "contract: 1 s, times DEADLINE_FACTOR: 2")
    assert deadline == Fact("deadline", "2 s", "contract: 1 s, times DEADLINE_FACTOR: 2")
    assert rate == Fact("rate_limit.calls_per_second", "2", "contract: 0.2, times RATE_LIMIT_FACTOR: 10")


@pytest.mark.requirement("C4")
@pytest.mark.parametrize("method", all_methods())
def test_the_explanation_covers_every_field_of_a_policy(method: str) -> None:
    """The explanation of a method covers every field that its policy sets."""
    descriptor = descriptor_pool.Default().FindMethodByName(method.replace("/", "."))
    declared = descriptor.GetOptions().Extensions[policy_pb2.policy]

    explained = {fact.partition(".")[0] for fact in facts(method)}

    assert {field.name for field, _ in declared.ListFields()} <= explained
