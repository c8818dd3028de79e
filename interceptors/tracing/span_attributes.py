"""Span attributes of calls, by OpenTelemetry's semantic conventions for RPC and gRPC (version 1.45.0).

Conventions before 1.38 used other names for most attributes. The earlier names are added if a program requests both
sets, as `OTEL_SEMCONV_STABILITY_OPT_IN=rpc/dup` does. `rpc.method` has a different meaning in each set; the current
meaning ("solo60.gym.v1.GymService/GetGym") is used.
"""

from __future__ import annotations

import re
from functools import cache, lru_cache
from importlib import metadata
from ipaddress import ip_address
from typing import TYPE_CHECKING
from urllib.parse import unquote

import grpc
from opentelemetry.semconv._incubating.attributes import net_attributes, rpc_attributes
from opentelemetry.semconv._incubating.attributes.user_agent_attributes import USER_AGENT_ORIGINAL
from opentelemetry.semconv.attributes.error_attributes import ERROR_TYPE
from opentelemetry.semconv.attributes.network_attributes import NETWORK_PEER_ADDRESS, NETWORK_PEER_PORT
from opentelemetry.semconv.attributes.server_attributes import SERVER_ADDRESS, SERVER_PORT

from contracts.codes import SERVER_SPAN_ERRORS
from contracts.service_error import ServiceError
from interceptors.tracing.lean_span import SharedAttributes
from interceptors.tracing.lean_tracer import lean_tracer

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer, TracerProvider

    from contracts.method import Method

    Attributes = dict[str, str | int]

SCHEMA_URL = "https://opentelemetry.io/schemas/1.45.0"
PACKAGE = "solo60-mesh"
# Not yet a constant of the package opentelemetry-semantic-conventions.
RPC_STATUS_CODE = "rpc.status_code"
# Reason from the contract ("SLOT_TAKEN"), on the span of every rejected call, even if the span is not an error.
REASON_ATTRIBUTE = "solo60.reason"
# Owner of the caller's API key.
CALLER_ATTRIBUTE = "solo60.caller"
# Name used by opentelemetry-instrumentation-grpc.
RPC_USER_AGENT = "rpc.user_agent"
# Length of the longest user agent that is cached. A caller with many longer ones could fill the memory.
MAX_CACHED_USER_AGENT = 200
_LOOPBACK = ("[::1]", "127.0.0.1")
_UNIX = re.compile(r"unix(?:-abstract)?:(?://(?=/))?(.+)")
_HOST_AND_PORT = re.compile(r"(?:dns:(?://[^/]*/)?|ipv[46]:)?((?:\[[^\]]+\])|[^:/,\[\]]+):([0-9]+)")


def tracer_of(tracers: TracerProvider, scope: str) -> Tracer:
    """Return a tracer for a part of the mesh, with the mesh's version and the schema of its spans."""
    return lean_tracer(tracers.get_tracer(scope, _version(), schema_url=SCHEMA_URL))


@cache
def _version() -> str | None:
    try:
        return metadata.version(PACKAGE)
    except metadata.PackageNotFoundError:  # not installed, but run from source
        return None


class SpanAttributes:
    """Attributes of calls under their current names, and with `old_names_too` under the earlier ones as well."""

    def __init__(self, *, old_names_too: bool = False) -> None:
        self._old_names_too = old_names_too

    def of_method(self, method: Method) -> SharedAttributes:
        """Return the attributes of a successful call."""
        attributes: Attributes = {
            rpc_attributes.RPC_SYSTEM_NAME: "grpc",
            rpc_attributes.RPC_METHOD: method.full_name,
            **self._of_code(grpc.StatusCode.OK),
        }
        if self._old_names_too:
            attributes |= {rpc_attributes.RPC_SYSTEM: "grpc", rpc_attributes.RPC_SERVICE: method.service}
        return SharedAttributes(attributes)

    def of_rejection(self, rejection: ServiceError, error_type: str) -> Attributes:
        """Return the attributes that a rejection adds or changes; `error_type` is empty if it is not an error."""
        attributes = self._of_code(rejection.code)
        reason = rejection.reason_name()
        if reason:
            attributes[REASON_ATTRIBUTE] = reason
        if error_type:
            attributes[ERROR_TYPE] = error_type
        return attributes

    def of_caller(self, caller: str, peer: str, user_agent: str) -> SharedAttributes:
        """Return the attributes of a caller: the owner of its key, its address and its user agent.

        An address has the form "ipv4:127.0.0.1:57284" or "ipv6:%5B::1%5D:57284".
        """
        of_caller = _cached_of_caller if len(user_agent) <= MAX_CACHED_USER_AGENT else _of_caller
        return of_caller(caller, peer, user_agent, self._old_names_too)

    def _of_code(self, code: grpc.StatusCode) -> Attributes:
        attributes: Attributes = {RPC_STATUS_CODE: code.name}
        return attributes | {rpc_attributes.RPC_GRPC_STATUS_CODE: code.value[0]} if self._old_names_too else attributes


def _of_caller(caller: str, peer: str, user_agent: str, old_names_too: bool) -> SharedAttributes:  # noqa: FBT001 - a cache takes longer for named arguments
    attributes: Attributes = {CALLER_ATTRIBUTE: caller, **_of_peer(peer, old_names_too=old_names_too)}
    if user_agent:
        attributes[USER_AGENT_ORIGINAL] = user_agent
        if old_names_too:
            attributes[RPC_USER_AGENT] = user_agent
    return SharedAttributes(attributes)


# Most calls of a connection have the same caller.
_cached_of_caller = lru_cache(maxsize=1024)(_of_caller)


def _of_peer(peer: str, *, old_names_too: bool) -> Attributes:
    kind, _, addresses = peer.partition(":")
    ip, _, port = unquote(addresses).partition(",")[0].rpartition(":")
    if kind not in ("ipv4", "ipv6") or not port.isdecimal():
        return {}
    attributes: Attributes = {NETWORK_PEER_ADDRESS: ip.strip("[]"), NETWORK_PEER_PORT: int(port)}
    if old_names_too:
        attributes |= {net_attributes.NET_PEER_IP: ip, net_attributes.NET_PEER_PORT: port}
        if ip in _LOOPBACK:
            attributes[net_attributes.NET_PEER_NAME] = "localhost"
    return attributes


def attributes_of_target(target: str) -> Attributes:
    """Return the attributes of a channel's target: the server's name, and its network address if known.

    gRPC in Python does not report the peer of a client call. So the network address is known only for a target that is
    one IP address or a Unix socket. A target without a host or path, such as a list of addresses, is the name as a
    whole.
    """
    if not target:
        return {}
    if unix := _UNIX.fullmatch(target):
        return {SERVER_ADDRESS: unix[1], NETWORK_PEER_ADDRESS: unix[1]}
    found = _HOST_AND_PORT.fullmatch(target)
    if found is None:
        return {SERVER_ADDRESS: target}
    host, port = found[1].strip("[]"), int(found[2])
    attributes: Attributes = {SERVER_ADDRESS: host, SERVER_PORT: port}
    return attributes | {NETWORK_PEER_ADDRESS: host, NETWORK_PEER_PORT: port} if _is_ip(host) else attributes


def _is_ip(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def server_error_type(rejection: ServiceError) -> str:
    """Return the `error.type` of a call that a server rejected; empty if the rejection is a normal response."""
    return rejection.code.name if rejection.code in SERVER_SPAN_ERRORS else ""


def client_error_type(error: BaseException, rejection: ServiceError) -> str:
    """Return the `error.type` of a failed call: its code, or the exception's class if there is no code."""
    if isinstance(error, ServiceError) or not isinstance(error, Exception):
        return rejection.code.name
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
