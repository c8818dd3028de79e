"""Address settings of the services: one `<NAME>_SERVICE_URL` for each service in the registry.

The default is loopback and the `default_port` of the contract.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import create_model
from pydantic_settings import BaseSettings

from contracts.services import SERVICES, default_port_of
from mesh.setting_types import Address


def url_field(service: str) -> str:
    """Return the name of the settings field with the address of `service`."""
    return f"{service}_service_url"


_FIELDS: dict[str, Any] = {
    url_field(name): (Address, f"127.0.0.1:{default_port_of(service)}") for name, service in SERVICES.items()
}

if TYPE_CHECKING:  # mypy accepts no base class that is built at run time

    class ServiceUrls(BaseSettings):
        """Settings with the address of each service."""

else:
    ServiceUrls = create_model("ServiceUrls", __base__=BaseSettings, **_FIELDS)
