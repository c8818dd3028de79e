"""Chains of a method: the interceptors of its server and of its clients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry

from interceptors import Keyring
from interceptors.chain.description import parts_of
from mesh.serving.channel import client_interceptors
from mesh.serving.server import server_interceptors

if TYPE_CHECKING:
    from contracts.method import Method
    from interceptors.chain.description import Part
    from mesh.config import Settings


@dataclass(frozen=True, slots=True)
class Chains:
    """Parts of both chains of a method, outermost first."""

    server: list[Part]
    client: list[Part]


def chains_of(method: Method, settings: Settings) -> Chains:
    """Return the chains of a process with `settings`."""
    registry = CollectorRegistry()  # of its own, because the interceptors register their metrics
    return Chains(
        parts_of(server_interceptors(settings, Keyring, registry), method),
        parts_of(client_interceptors(settings, str, registry), method),
    )
