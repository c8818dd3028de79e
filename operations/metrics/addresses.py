"""Addresses of the Prometheus pages of all services."""

from __future__ import annotations

from typing import TYPE_CHECKING

from contracts.services import SERVICE_NAMES
from local.supervised_settings import expected_metrics_address_of
from mesh.port_offset import LOOPBACK_HOSTS

if TYPE_CHECKING:
    from mesh.config import Settings


def metrics_urls(settings: Settings) -> dict[str, list[str]]:
    """Return the URLs of the metrics of each service, one for each process of it.

    METRICS_URLS names them. Without it, a service on loopback has its page where `solo60 up` serves it, and any other
    service has no URL.
    """
    if settings.metrics_urls is not None:
        pairs = [entry.split("=", 1) for entry in settings.metrics_urls.split(",")]
        return {name: [url for owner, url in pairs if owner == name] for name in SERVICE_NAMES}
    return {name: _local_urls(settings, name) for name in SERVICE_NAMES}


def _local_urls(settings: Settings, name: str) -> list[str]:
    address = expected_metrics_address_of(settings, name)
    is_local = address is not None and address.rpartition(":")[0] in (*LOOPBACK_HOSTS, "[::1]")
    return [f"http://{address}/metrics"] if is_local else []
