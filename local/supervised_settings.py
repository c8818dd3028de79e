"""Settings of the services in a local mesh, and their checks before the start."""

from __future__ import annotations

from contextlib import suppress
from importlib.util import find_spec
from types import MappingProxyType
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from pydantic import SecretStr

from contracts.services import MAX_PORT, SERVICE_NAMES
from local.held_ports import is_free, user_of_port
from local.keys import ensure_link_secret
from local.mail_sink import HOST as MAIL_SINK_HOST
from local.parts import CONSOLE, NO_CONSOLE_PACKAGES
from mesh.config import SettingsError, child_environment
from mesh.port_offset import SMTP_PORT

if TYPE_CHECKING:
    from collections.abc import Mapping

    from local.held_ports import HeldPorts
    from mesh.config import Settings

LOOPBACK = (MAIL_SINK_HOST, "localhost")
PER_PROCESS_SETTINGS = (
    "http_address",
    "listen_address",
    "log_fd",
    "metrics_address",
    "service_api_key",
    "service_api_key_file",
)
# By default, every service listens on the address that its callers use.
NO_LISTEN_ADDRESSES: Mapping[str, str] = MappingProxyType({})
# Distance of a service's metrics port from its own port. A multiple of 1,000 would collide with the ports of a second
# mesh with PORT_OFFSET=1000.
METRICS_PORT_DISTANCE = 500
# The same for the port of a service's plain HTTP.
HTTP_PORT_DISTANCE = 600
# Defaults for development that reveal more than those of a deployment. Explicit settings override them.
SHOWN_IN_DEVELOPMENT = {"reflection_open": True, "log_requests": True, "strict_contracts": True}
# All services, a database and their callers share one machine. Calls wait longer there than on a server without an
# overload, so the default delay for shedding is higher. An explicit setting overrides this default.
LENIENT_IN_DEVELOPMENT = {"shed_queue_delay_s": 0.5}
# The processes of a local mesh share the memory of their code, and a move to huge pages would copy that memory. An
# explicit setting overrides this default.
SHARED_IN_DEVELOPMENT = {"huge_pages": False}


def reject_settings_of_one_process(settings: Settings) -> None:
    """Raise SettingsError if a setting would make all services share one address or one key."""
    for name in PER_PROCESS_SETTINGS:
        if getattr(settings, name) is not None:
            raise SettingsError(f"{name.upper()}: unset it, because each service of a mesh has its own.")


def settings_of_service(settings: Settings, name: str, listen_addresses: Mapping[str, str]) -> Settings:
    """Return the settings of one service: those of the mesh, with the service's own listen address if it has one."""
    address = listen_addresses.get(name)
    return settings if address is None else settings.model_copy(update={"listen_address": address})


async def hold_ports(
    ports: HeldPorts, settings: Settings, listen_addresses: Mapping[str, str] = NO_LISTEN_ADDRESSES
) -> None:
    """Hold every port that a mesh listens on; raise SettingsError for the first unavailable port and name its user.

    Without this check, a foreign service on such a port could be mistaken for a service of the mesh. A port for metrics
    or HTTP that is taken is not an error: its service then lacks that endpoint.
    """
    for name in SERVICE_NAMES:
        own = settings_of_service(settings, name, listen_addresses)
        host, _, port = own.listen_address_of(name).rpartition(":")
        await ports.hold(f"{name.upper()}_SERVICE_URL", host, int(port))
    mail_port = mail_sink_port(settings)
    if mail_port is not None:
        await ports.hold("SMTP_URL", MAIL_SINK_HOST, mail_port)
    for name in SERVICE_NAMES:
        for setting, address in (
            ("METRICS_ADDRESS", metrics_address_of(settings, name)),
            ("HTTP_ADDRESS", http_address_of(settings, name)),
        ):
            if address is not None:
                host, _, port = address.rpartition(":")
                with suppress(SettingsError):  # taken meanwhile: `_address_above` detects that before the start
                    await ports.hold(setting, host, int(port))


def mail_sink_port(settings: Settings) -> int | None:
    """Return the port of the mail sink of a local mesh, or None if SMTP_URL names an external mail server."""
    url = urlsplit(settings.mail_server_url.get_secret_value())
    return (url.port or SMTP_PORT) if url.hostname in LOOPBACK else None


def environment_of_service(settings: Settings, name: str) -> dict[str, str]:
    """Return the environment of a service's process: the mesh's settings, and the service's own.

    The environment lacks the DATABASE_URL, which the process receives when the database is ready.
    """
    return child_environment(**own_settings_of(settings, name))


def environment_of_all_services(settings: Settings) -> dict[str, str]:
    """Return the environment of a process of all services: the mesh's settings."""
    given = {field: _plain(getattr(settings, field)) for field in settings.model_fields_set}
    return child_environment(**{**SHARED_IN_DEVELOPMENT, **given}, stop_with_parent=True)


def own_settings_of(settings: Settings, name: str) -> dict[str, object]:
    """Return the settings of a service by field name: those of the mesh, and the service's own."""
    given = {field: _plain(getattr(settings, field)) for field in settings.model_fields_set}
    own = {
        "keyring_file": settings.keyring_path,
        "service_api_key_file": settings.key_path_of(name),
        "span_dir": settings.local_span_dir,
        "metrics_address": metrics_address_of(settings, name),
        "http_address": http_address_of(settings, name),
        "stop_with_parent": True,
    }
    links = _link_settings(settings) if name == "communication" else {}
    return {**SHOWN_IN_DEVELOPMENT, **LENIENT_IN_DEVELOPMENT, **SHARED_IN_DEVELOPMENT, **links, **given, **own}


def environment_of_console(settings: Settings) -> dict[str, str]:
    """Return the environment of the console's process: the mesh's settings, and the console's own key."""
    given = {field: _plain(getattr(settings, field)) for field in settings.model_fields_set}
    own = {
        "keyring_file": settings.keyring_path,
        "service_api_key_file": settings.key_path_of(CONSOLE),
        "span_dir": settings.local_span_dir,
        "stop_with_parent": True,
    }
    return child_environment(**{**SHARED_IN_DEVELOPMENT, **given, **own})


def console_problem_of(settings: Settings) -> str:
    """Return why the console of a local mesh cannot run, as a sentence, or ""."""
    if find_spec("nicegui") is None:
        return NO_CONSOLE_PACKAGES
    host, _, port = settings.console_listen_address.rpartition(":")
    if not is_free(host.strip("[]"), int(port)):
        address = settings.console_listen_address
        return f"CONSOLE_ADDRESS: {address} is in use by {user_of_port(int(port))}. PORT_OFFSET moves it."
    return ""


def _link_settings(settings: Settings) -> dict[str, object]:
    """Return the settings for unsubscribe links that work on this machine; none if the service has no HTTP there."""
    address = http_address_of(settings, "communication")
    if address is None or address.rpartition(":")[0] not in LOOPBACK:
        return {}
    return {"unsubscribe_url": f"http://{address}/unsubscribe", "unsubscribe_secrets": ensure_link_secret(settings)}


def metrics_address_of(settings: Settings, name: str) -> str | None:
    """Return the metrics address of a service in a local mesh (its port plus 500), or None if that port is taken."""
    return _address_above(settings, name, METRICS_PORT_DISTANCE)


def http_address_of(settings: Settings, name: str) -> str | None:
    """Return the HTTP address of a service in a local mesh (its port plus 600), or None if that port is taken."""
    return _address_above(settings, name, HTTP_PORT_DISTANCE)


def expected_metrics_address_of(settings: Settings, name: str) -> str | None:
    """Return the metrics address of a service in a local mesh that runs, or None if no port is left for it.

    The service has no page there if the port was taken when the mesh started.
    """
    host, _, port = settings.listen_address_of(name).rpartition(":")
    number = int(port) + METRICS_PORT_DISTANCE if port.isdecimal() else MAX_PORT + 1
    return _unused_address(settings, host, number)


def _address_above(settings: Settings, name: str, distance: int) -> str | None:
    host, _, port = settings.listen_address_of(name).rpartition(":")
    number = int(port) + distance
    address = _unused_address(settings, host, number)
    return address if address is not None and is_free(host, number) else None


def _unused_address(settings: Settings, host: str, port: int) -> str | None:
    """Return "host:port" if it is in range and no service of the mesh has it."""
    address = f"{host}:{port}"
    return None if port > MAX_PORT or address in map(settings.listen_address_of, SERVICE_NAMES) else address


def _plain(value: object) -> object:
    return value.get_secret_value() if isinstance(value, SecretStr) else value
