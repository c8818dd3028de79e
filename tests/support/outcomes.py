"""Outcomes of all methods in a run of the tests: each method succeeds, and fails with each error that it lists.

The servers of the tests count their calls in Prometheus's registry.
"""

from __future__ import annotations

from typing import TypeAlias

from prometheus_client import REGISTRY

from contracts.service_error import PLATFORM_REASONS
from contracts.services import SERVICES, all_methods
from solo60.common.v1.errors_pb2 import ErrorReason

# Full name of a method and the reason of an error, or SUCCESS.
Outcome: TypeAlias = tuple[str, str]

SUCCESS = "success"
HANDLED = "grpc_server_handled_total"
SENT = "grpc_server_msg_sent_total"


def outcomes_of_this_process() -> set[Outcome]:
    """Return the outcomes of all calls that servers in this process have answered.

    A method succeeds when it sends a response: the stream of a watch may have no other end than its deadline.
    """
    outcomes = set()
    for sample in (sample for metric in REGISTRY.collect() for sample in metric.samples):
        reason = sample.labels.get("reason") if sample.name == HANDLED else SUCCESS if sample.name == SENT else None
        if reason and sample.value:
            outcomes.add((f"{sample.labels['grpc_service']}/{sample.labels['grpc_method']}", reason))
    return outcomes


def declared_outcomes() -> set[Outcome]:
    """Return success and every declared error of every method."""
    return {
        (name, outcome)
        for name, method in all_methods().items()
        for outcome in (SUCCESS, *map(_name_of, method.policy.errors - PLATFORM_REASONS))
    }


def missing_outcomes(seen: set[Outcome]) -> list[str]:
    """Return one line for each declared outcome that no call had."""
    short = {service.full_name: name for name, service in SERVICES.items()}
    missing = sorted(declared_outcomes() - seen)
    return [f"{short[name.partition('/')[0]]}.{name.partition('/')[2]}: {outcome}" for name, outcome in missing]


def _name_of(reason: ErrorReason.ValueType) -> str:
    return ErrorReason.Name(reason).removeprefix("ERROR_REASON_")
