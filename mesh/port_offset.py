"""Port offset: derives the addresses of a second mesh on this machine from those of the first."""

from __future__ import annotations

import re
from urllib.parse import urlsplit, urlunsplit

LOOPBACK_HOSTS = ("127.0.0.1", "localhost", "::1")
SMTP_PORT = 25
# Matches "127.0.0.1:1", "dns:///localhost:1" and "ipv4:127.0.0.1:1,127.0.0.1:2", but not "my-localhost:1".
_LOOPBACK_PORT = re.compile(r"(?<![\w.-])(127\.0\.0\.1|localhost|\[::1\]):([0-9]{1,5})(?![0-9])")


def with_offset(address: str, offset: int) -> str:
    """Return a gRPC target with `offset` added to each port on loopback.

    >>> with_offset("ipv4:127.0.0.1:50053,10.0.0.7:50053", 1000)
    'ipv4:127.0.0.1:51053,10.0.0.7:50053'
    """
    return _LOOPBACK_PORT.sub(lambda found: f"{found[1]}:{int(found[2]) + offset}", address) if offset else address


def has_port_above(max_port: int, address: str) -> bool:
    """Return whether a gRPC target has a loopback port above `max_port`."""
    return any(int(port) > max_port for _, port in _LOOPBACK_PORT.findall(address))


def mail_url_with_offset(url: str, offset: int) -> str:
    """Return the URL of a mail server with `offset` added to its port if the host is loopback.

    >>> mail_url_with_offset("smtp://127.0.0.1", 1000)
    'smtp://127.0.0.1:1025'
    """
    parts = urlsplit(url)
    if not offset or parts.hostname not in LOOPBACK_HOSTS:
        return url
    port = (parts.port or SMTP_PORT) + offset
    user, at, _ = parts.netloc.rpartition("@")
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return urlunsplit(parts._replace(netloc=f"{user}{at}{host}:{port}"))
