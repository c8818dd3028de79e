"""Parsers of setting values, which accept several spellings of the same value.

A spelling is accepted if it is common and unambiguous: `LOG_LEVEL=INFO`, `DRAIN_WAIT_S=500ms`,
`GYM_SERVICE_URL=http://gym:50053/`. Messages never repeat a value, because it may be a secret.
"""

from __future__ import annotations

import base64
import re
from email.errors import MessageError
from email.headerregistry import Address as MailAddress
from email.utils import getaddresses
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, SecretStr

from contracts.services import MAX_PORT, SERVICE_NAMES
from mesh.port_offset import LOOPBACK_HOSTS

if TYPE_CHECKING:
    from collections.abc import Mapping

BROKER_PORT = 4222
COLLECTOR_PORT = 4317
ADDRESS_FORMS = '"host:port" or "http://host:port", or a gRPC target: "dns:///host:port", "ipv4:ip:port,ip:port"'
PORTS = f"a port is 1 to {MAX_PORT}"
QUOTES = ("'", '"')
ANY_HOST = "0.0.0.0"  # noqa: S104 - ":50051" means all addresses
SECONDS = {"ms": 0.001, "s": 1.0, "sec": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}
LEVELS = {"warn": "warning", "fatal": "critical"}
METRICS_URL = re.compile(r"([a-z]+)=(?:(https?)://)?([^/\s@:]+|\[[0-9A-Fa-f:.]+\])(?::([0-9]{1,5}))?(/[^\s,]*)?")
_COLLECTOR_URL = re.compile(r"https?://(?:[^/\s@:?#]+|\[[0-9A-Fa-f:.]+\])(?::([0-9]{1,5}))?(?:(/[^\s@?#]+)|/)?")
_COLLECTOR_TARGET = re.compile(r"(?:dns:///)?(?:[^/\s@:]+|\[[0-9A-Fa-f:.]+\]):([0-9]{1,5})")
# OTLP over HTTP adds these paths to the base URL (opentelemetry.io, "OTLP Exporter Configuration").
_SIGNAL_PATHS = ("/v1/traces", "/v1/metrics", "/v1/logs")
WEBHOOK_PREFIX = "whsec_"
# Standard Webhooks: "between 24 bytes (192 bits) and 64 bytes (512 bits)".
MIN_SECRET_BYTES, MAX_SECRET_BYTES = 24, 64


def without_padding(values: Mapping[str, str | None]) -> dict[str, str | None]:
    """Strip blanks and one pair of quotes from each value, and drop values that are empty then.

    `docker --env-file` does not remove quotes, and secret files end with a line break.
    """
    bare = {name: _bare(value) for name, value in values.items()}
    return {name: value for name, value in bare.items() if value != ""}


def _bare(value: str | None) -> str | None:
    if value is None:
        return None
    text = value.strip()
    is_quoted = len(text) > 1 and text[0] in QUOTES and text[0] == text[-1] and text[0] not in text[1:-1]
    return text[1:-1].strip() if is_quoted else text


def _is_port(digits: str) -> bool:
    return 0 < int(digits) <= MAX_PORT


def secrets_in(value: SecretStr | None) -> list[str]:
    """Return the secrets in a setting, which are separated by commas; none if it is not set."""
    return _parts(value.get_secret_value()) if value is not None else []


def _parts(value: str) -> list[str]:
    return [part.strip() for part in value.split(",")]


def _address(value: str) -> str:
    """Accept "host:port" or a gRPC target; treat "http://host:port/" and "grpc://host:port" as "host:port"."""
    text = re.sub(r"^(http|grpc)://", "", value).removesuffix("/")
    scheme, _, addresses = text.partition(":")
    if scheme not in ("dns", "ipv4", "ipv6"):
        scheme, addresses = "", text
    found = [re.fullmatch(r"([^/\s@,]+):([0-9]{1,5})", part) for part in _parts(addresses.removeprefix("///"))]
    hosts = [match[1].strip("[]") for match in found if match and _is_port(match[2])]
    if len(hosts) < len(found):
        raise ValueError(f"must be {ADDRESS_FORMS}; {PORTS}")
    joined = ",".join(match[0] for match in found if match)
    if scheme.startswith("ipv") or len(hosts) > 1:
        return f"{_ip_scheme_of(hosts)}:{joined}"
    return f"{scheme}:///{joined}" if scheme else joined


def _ip_scheme_of(hosts: list[str]) -> str:
    try:
        (version,) = {ip_address(host).version for host in hosts}
    except ValueError:
        raise ValueError('must be IP addresses of one version if there are several: "ipv4:ip:port,ip:port"') from None
    return f"ipv{version}"


def _listen_address(value: str) -> str:
    """Accept "host:port"; treat ":port" and "*:port" as every address of the machine."""
    match = re.fullmatch(r"(?!ipv[46]:|dns:)(\*|[^/\s@,*]*):([0-9]{1,5})", value)
    if match is None or not _is_port(match[2]):
        raise ValueError(f'must be "host:port", or ":port" for every address of the machine; {PORTS}')
    return f"{match[1] if match[1] not in ('', '*') else ANY_HOST}:{match[2]}"


def _collector(value: str) -> str:
    """Accept OpenTelemetry's forms of an OTLP endpoint; drop a slash at the end of a URL."""
    url, target = _COLLECTOR_URL.fullmatch(value), _COLLECTOR_TARGET.fullmatch(value)
    port = (url[1] or str(COLLECTOR_PORT)) if url else target[1] if target else "0"
    if not _is_port(port) or value.rstrip("/").endswith(_SIGNAL_PATHS):
        raise ValueError(
            'must be "http://host:port", "https://host:port" or "host:port", for OTLP over gRPC (default port '
            f'{COLLECTOR_PORT}), or for OTLP over HTTP the base URL without "/v1/traces"'
        )
    return value.rstrip("/") if url else value


def suits_protocol(collector: str, protocol: str) -> bool:
    """Return whether a collector's address suits "grpc", which has no path, or HTTP, which needs a URL."""
    url = _COLLECTOR_URL.fullmatch(collector)
    return not (url and url[2]) if protocol == "grpc" else url is not None


def with_collector_port(collector: str) -> str:
    """Return the address of a collector for gRPC, with port 4317 if it is a URL without a port."""
    url = _COLLECTOR_URL.fullmatch(collector)
    return f"{collector}:{COLLECTOR_PORT}" if url and url[1] is None else collector


def _broker(value: SecretStr) -> SecretStr:
    """Accept "nats://" and "tls://" URLs; treat "host" as "nats://host:4222"."""
    servers = []
    for each in secrets_in(value):
        match = re.fullmatch(r"(?:(nats|tls)://)?([^@/\s]+@)?([^@/:\s]+|\[[^@/\s]+\])(?::([0-9]{1,5}))?/?", each)
        if match is None or not _is_port(match[4] or str(BROKER_PORT)):
            raise ValueError('must be "nats://host:port" or "tls://user:password@host:port"')
        servers.append(f"{match[1] or 'nats'}://{match[2] or ''}{match[3]}:{match[4] or BROKER_PORT}")
    return SecretStr(",".join(servers))


def _database(value: SecretStr) -> SecretStr:
    """Accept a URL of PostgreSQL; drop a driver such as "+asyncpg" in "postgresql+asyncpg://"."""
    text = re.sub(r"^(postgres(?:ql)?)\+[a-z0-9_]+(?=://)", r"\1", value.get_secret_value())
    try:
        parts = urlsplit(text)
        is_url = parts.scheme in ("postgresql", "postgres") and "://" in text and (parts.port is None or parts.port > 0)
    except ValueError:
        is_url = False
    if not is_url:
        raise ValueError(
            'must be "postgresql://user:password@host:port/database", with "%2F" for a "/" in the password'
        )
    return SecretStr(text)


def _mail_server(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    try:
        parts = urlsplit(text)
        is_url = parts.scheme in ("smtp", "smtps") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_url = False
    if not is_url or parts.path.strip("/") or parts.query or parts.fragment:
        raise ValueError('must be "smtp://host:port" or "smtps://user:password@host:port"')
    return value


def _mailboxes(value: str) -> str:
    try:
        emails = [MailAddress(addr_spec=email) for _, email in getaddresses([value])]
    except (MessageError, ValueError, IndexError):
        emails = []
    if not emails or not all(email.username and email.domain for email in emails):
        raise ValueError('must be an address such as "Solo60 <mail@solo60.example>"')
    return value


def _standard_secrets(value: SecretStr) -> SecretStr:
    """Accept the secrets of Standard Webhooks, separated by commas."""
    if not all(map(_is_standard_secret, secrets_in(value))):
        raise ValueError('must be secrets of the form "whsec_<24 to 64 bytes in base64>", separated by commas')
    return value


def _is_standard_secret(text: str) -> bool:
    try:
        secret = base64.b64decode(text.removeprefix(WEBHOOK_PREFIX), validate=True)
    except ValueError:
        return False
    return text.startswith(WEBHOOK_PREFIX) and MIN_SECRET_BYTES <= len(secret) <= MAX_SECRET_BYTES


def _processor_secrets(value: SecretStr) -> SecretStr:
    """Accept webhook secrets of the card processor, separated by commas."""
    form = re.compile(rf"{WEBHOOK_PREFIX}[A-Za-z0-9+/=_-]{{24,200}}")
    if not all(map(form.fullmatch, secrets_in(value))):
        raise ValueError('must be secrets of the form "whsec_<24 or more characters>", separated by commas')
    return value


def _card_processor_key(value: SecretStr) -> SecretStr:
    """Accept a secret or restricted key of Stripe. Its publishable key, "pk_...", cannot charge cards."""
    if not re.fullmatch(r"(sk|rk)_[A-Za-z0-9_]{3,250}", value.get_secret_value()):
        raise ValueError('must be a secret key of Stripe, "sk_..." or "rk_..."')
    return value


def _card_processor_url(value: str) -> str:
    """Accept "https://host", and "http://host:port" on loopback, where no network carries the key."""
    try:
        parts = urlsplit(value)
        is_url = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_url = False
    if not is_url or parts.username or parts.path.strip("/") or parts.query or parts.fragment:
        raise ValueError('must be "https://host" or "https://host:port", without a path')
    if parts.scheme == "http" and parts.hostname not in LOOPBACK_HOSTS:
        raise ValueError("must begin with https://, because the key is sent to it; http:// is for this machine only")
    return value.rstrip("/")


def _link_url(value: str) -> str:
    """Accept an "https://" URL without user, query and fragment, or "http://" on loopback; drop a "/" at the end."""
    form = r"(https?)://([A-Za-z0-9.-]+|\[[0-9A-Fa-f:]+\])(?::([0-9]{1,5}))?(/[A-Za-z0-9._~-]+)*/?"
    url = re.fullmatch(form, value)
    if url is None or not _is_port(url[3] or "443"):
        raise ValueError('must be a URL such as "https://mail.solo60.example/unsubscribe"')
    if url[1] == "http" and url[2].strip("[]") not in LOOPBACK_HOSTS:
        raise ValueError("must begin with https://, as RFC 8058 requires; http:// is for this machine only")
    return value.rstrip("/")


def _link_secrets(value: SecretStr) -> SecretStr:
    """Accept secrets of at least 32 characters, separated by commas."""
    form = re.compile(r"[A-Za-z0-9+/=_-]{32,200}")
    if not all(map(form.fullmatch, secrets_in(value))):
        raise ValueError("must be secrets of 32 or more letters, digits, +, /, =, _ and -, separated by commas")
    return value


def _host_names(value: str) -> str:
    """Accept host names without ports, separated by commas, or nothing."""
    names = [name.strip().lower() for name in value.split(",")] if value.strip() else []
    if not all(re.fullmatch(r"[a-z0-9.-]{1,253}|\[[0-9a-f:.]+\]", name) for name in names):
        raise ValueError('must be host names without ports, separated by commas, such as "console.solo60.example"')
    return ",".join(names)


def _metrics_urls(value: str) -> str:
    """Accept "service=URL" entries separated by commas; treat "gym=host:9464" as "gym=http://host:9464/metrics"."""
    entries = []
    for entry in _parts(value):
        match = METRICS_URL.fullmatch(entry)
        if match is None or not _is_port(match[4] or "80"):
            raise ValueError(f'must be "service=http://host:port/metrics" entries, separated by commas; {PORTS}')
        if match[1] not in SERVICE_NAMES:
            raise ValueError(f"must name a service in each entry: {', '.join(SERVICE_NAMES)}")
        port = f":{match[4]}" if match[4] else ""
        entries.append(f"{match[1]}={match[2] or 'http'}://{match[3]}{port}{match[5] or '/metrics'}")
    return ",".join(entries)


def _level(value: object) -> object:
    text = value.lower() if isinstance(value, str) else value
    return LEVELS.get(text, text) if isinstance(text, str) else text


def _lower_case(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


def _seconds(value: object) -> object:
    """Accept a number of seconds, or a number with its unit."""
    match = re.fullmatch(r"([0-9]*\.?[0-9]+)\s*(ms|sec|s|min|m|h)", value) if isinstance(value, str) else None
    return float(match[1]) * SECONDS[match[2]] if match else value


def _share(value: object) -> object:
    """Accept a number from 0 to 1, or a percentage."""
    match = re.fullmatch(r"([0-9]*\.?[0-9]+)\s*%", value) if isinstance(value, str) else None
    return float(match[1]) / 100 if match else value


def _folder(value: Path) -> Path:
    try:
        return value.expanduser()
    except RuntimeError:
        raise ValueError('"~" cannot be resolved, because this user has no home folder') from None


Address = Annotated[str, AfterValidator(_address)]
HostNames = Annotated[str, AfterValidator(_host_names)]
ListenAddress = Annotated[str, AfterValidator(_listen_address)]
Collector = Annotated[str, AfterValidator(_collector)]
BrokerUrl = Annotated[SecretStr, AfterValidator(_broker)]
DatabaseUrl = Annotated[SecretStr, AfterValidator(_database)]
MailServerUrl = Annotated[SecretStr, AfterValidator(_mail_server)]
Mailboxes = Annotated[str, AfterValidator(_mailboxes)]
StandardSecrets = Annotated[SecretStr, AfterValidator(_standard_secrets)]
ProcessorSecrets = Annotated[SecretStr, AfterValidator(_processor_secrets)]
MetricsUrls = Annotated[str, AfterValidator(_metrics_urls)]
LinkUrl = Annotated[str, AfterValidator(_link_url)]
LinkSecrets = Annotated[SecretStr, AfterValidator(_link_secrets)]
Seconds = Annotated[float, BeforeValidator(_seconds)]
Share = Annotated[float, BeforeValidator(_share)]
PathSetting = Annotated[Path, AfterValidator(_folder)]
CardProcessorKey = Annotated[SecretStr, AfterValidator(_card_processor_key)]
CardProcessorUrl = Annotated[str, AfterValidator(_card_processor_url)]
Level = Annotated[Literal["debug", "info", "warning", "error", "critical"], BeforeValidator(_level)]
EngineName = Annotated[Literal["grpcio", "native"], BeforeValidator(_lower_case)]
TransportName = Annotated[Literal["grpc", "nats"], BeforeValidator(_lower_case)]
