"""Prometheus pages, written by the collectors that the services use."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Gauge, generate_latest

from contracts.method import find_method
from interceptors.breaker.metrics import report_breakers
from interceptors.metrics.call_counts import CallCounts
from operations.metrics.reading import START_TIME

if TYPE_CHECKING:
    from collections.abc import Mapping

GET_GYM = "solo60.gym.v1.GymService/GetGym"
CHARGE = "solo60.payment.v1.PaymentService/ChargeSession"


class _Breakers:
    def __init__(self, states: Mapping[str, str]) -> None:
        self._states = states

    def states(self) -> Mapping[str, str]:
        return self._states


class ServicePage:
    """Page of one process of a service, with the calls that a test adds."""

    def __init__(self, started_s: float = 1.0, breakers: Mapping[str, str] | None = None) -> None:
        self._registry = CollectorRegistry()
        Gauge(START_TIME, "Start.", registry=self._registry).set(started_s)
        self._client = CallCounts("client", ("grpc_code", "reason"))
        self._server = CallCounts("server", ("grpc_code", "reason", "caller"))
        self._registry.register(self._client)
        self._registry.register(self._server)
        self._breakers = _Breakers(breakers or {})
        report_breakers(self._breakers, self._registry)

    def called(self, method: str, *outcomes: tuple[str, str], unfinished: int = 0) -> ServicePage:
        """Add one outgoing call for each outcome, a code and a reason, and calls that still run."""
        counts = self._client.of(find_method(method))
        for outcome in outcomes:
            counts.started += 1
            counts.end(time.monotonic(), outcome, "", "")
        counts.started += unfinished
        return self

    def answered(self, method: str, *outcomes: tuple[str, str, str]) -> ServicePage:
        """Add one answered call for each outcome: a code, a reason and a caller."""
        counts = self._server.of(find_method(method))
        for outcome in outcomes:
            counts.started += 1
            counts.end(time.monotonic(), outcome, "", "")
        return self

    def text(self) -> str:
        """Return the page."""
        return generate_latest(self._registry).decode()
