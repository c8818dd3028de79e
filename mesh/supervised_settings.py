"""Supervised settings: what each service of a local mesh gets to know, and what stops the start before it begins."""

from __future__ import annotations

from contextlib import suppress
from types import MappingProxyType
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from pydantic import SecretStr

from mesh.config import SERVICE_NAMES, SettingsError, child_environment
from mesh.held_ports import is_free
from mesh.inbox import HOST as INBOX_HOST
from mesh.port_offset import SMTP_PORT
from mesh.setting_forms import LARGEST_PORT

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mesh.config import Settings
    from mesh.held_ports import HeldPorts

LOOPBACK = (INBOX_HOST, "localhost")
OF_ONE_PROCESS = ("listen_address", "log_fd", "metrics_address", "service_api_key", "service_api_key_file")
# Every service listens where it is found.
NOWHERE_ELSE: Mapping[str, str] = MappingProxyType({})
# A service's metrics are found at its own port plus this. It is no multiple of 1,000, so that the metrics of one mesh
# leave the ports of a second one free, which PORT_OFFSET=1000 puts beside it.
METRICS_PORT_DISTANCE = 500
# A mesh on one machine is for development, so it shows more than it would elsewhere, unless its owner says otherwise.
SHOWN_IN_DEVELOPMENT = {"reflection_open": True, "log_requests": True, "strict_contracts": True}
# Seven services, a database and their callers share this machine. Calls that wait for it longer than a server elsewhere
# would let them are no overload, so they are served, unless its owner says otherwise.
LENIENT_IN_DEVELOPMENT = {"shed_queue_delay_s": 0.5}


def refuse_settings_of_one_process(settings: Settings) -> None:
    """Raise SettingsError where a setting would make all services listen at one address or share one key."""
    for name in OF_ONE_PROCESS:
        if getattr(settings, name) is not None:
            raise SettingsError(f"{name.upper()}: unset it, each service of a mesh has its own.")


def settings_of_service(settings: Settings, name: str, listen_addresses: Mapping[str, str]) -> Settings:
    """Return the settings of a mesh as one of its services has them: it may listen elsewhere than it is found."""
    address = listen_addresses.get(name)
    return settings if address is None else settings.model_copy(update={"listen_address": address})


async def hold_ports(ports: HeldPorts, settings: Settings, listen_addresses: Mapping[str, str] = NOWHERE_ELSE) -> None:
    """Hold every port that a mesh listens on; raise SettingsError with the first that it cannot have, and its user.

    Without this, a foreign service that answers there could be taken for ours. A metrics port that is taken is passed
    over: its service then shows no metrics.
    """
    for name in SERVICE_NAMES:
        own = settings_of_service(settings, name, listen_addresses)
        host, _, port = own.listen_address_of(name).rpartition(":")
        await ports.hold(f"{name.upper()}_SERVICE_URL", host, int(port))
    mail_port = inbox_port(settings)
    if mail_port is not None:
        await ports.hold("SMTP_URL", INBOX_HOST, mail_port)
    for name in SERVICE_NAMES:
        address = metrics_address_of(settings, name)
        if address is not None:
            host, _, port = address.rpartition(":")
            with suppress(SettingsError):  # taken since: `metrics_address_of` sees that before the service starts
                await ports.hold("METRICS_ADDRESS", host, int(port))


def inbox_port(settings: Settings) -> int | None:
    """Return the port of the inbox that a local mesh runs, or None where SMTP_URL leads elsewhere."""
    url = urlsplit(settings.mail_server_url.get_secret_value())
    return (url.port or SMTP_PORT) if url.hostname in LOOPBACK else None


def environment_of_service(settings: Settings, name: str) -> dict[str, str]:
    """Return the environment of a service's process: the settings of this one, and what is the service's own.

    Its DATABASE_URL comes later, when the database is ready.
    """
    given = {field: _plain(getattr(settings, field)) for field in settings.model_fields_set}
    own = {
        "keyring_file": settings.keyring_path,
        "service_api_key_file": settings.key_path_of(name),
        "span_dir": settings.local_span_dir,
        "metrics_address": metrics_address_of(settings, name),
        "stop_with_parent": True,
    }
    return child_environment(**{**SHOWN_IN_DEVELOPMENT, **LENIENT_IN_DEVELOPMENT, **given, **own})


def metrics_address_of(settings: Settings, name: str) -> str | None:
    """Return where a service of a local mesh shows its metrics: at its port plus 500, or None where that is taken."""
    host, _, port = settings.listen_address_of(name).rpartition(":")
    number = int(port) + METRICS_PORT_DISTANCE
    address = f"{host}:{number}"
    if number > LARGEST_PORT or address in map(settings.listen_address_of, SERVICE_NAMES):
        return None
    return address if is_free(host, number) else None


def _plain(value: object) -> object:
    return value.get_secret_value() if isinstance(value, SecretStr) else value
