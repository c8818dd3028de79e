"""Metrics of a registry as dictionaries."""

from __future__ import annotations

from typing import TYPE_CHECKING

from contracts.method import find_method

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry


SERVICE = "solo60.example.v1.EchoService"
ECHO = find_method(f"/{SERVICE}/Echo")


def samples(registry: CollectorRegistry, name: str) -> dict[tuple[str, ...], float]:
    """Return the values of a metric by its labels. The three labels of the method are joined and come last."""
    found = (sample for family in registry.collect() for sample in family.samples if sample.name == name)
    return {(*_others(sample.labels), _method_of(sample.labels)): sample.value for sample in found}


def _others(labels: dict[str, str]) -> list[str]:
    return [value for label, value in labels.items() if label not in ("grpc_type", "grpc_service", "grpc_method")]


def _method_of(labels: dict[str, str]) -> str:
    return f"{labels['grpc_type']}/{labels['grpc_method']}"


def total(registry: CollectorRegistry, name: str) -> float:
    """Return the sum of a metric over all labels."""
    return sum(samples(registry, name).values())
