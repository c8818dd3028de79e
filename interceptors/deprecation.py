"""Deprecation notices: each response of a deprecated method names its sunset date and its replacement."""

from __future__ import annotations

from email.utils import format_datetime
from typing import TYPE_CHECKING

from interceptors.chain.server import ServerInterceptor

if TYPE_CHECKING:
    from contracts.method import Method
    from contracts.policy import Deprecation
    from interceptors.chain.call import Call

# RFC 8594: the method may be removed after this date.
SUNSET = "sunset"
REPLACED_BY = "x-replaced-by"


class ServerDeprecation(ServerInterceptor):
    """Server interceptor that adds `sunset` (RFC 8594) and `x-replaced-by` to responses of deprecated methods.

    The call metrics show which callers remain: they count calls by method and caller.

    >>> call_echo(ServerDeprecation(), method="EchoDeprecated")
    'hi'
    """

    def applies_to(self, method: Method) -> bool:
        return method.policy.deprecation is not None

    def start(self, call: Call) -> None:
        deprecation = call.method.policy.deprecation
        if deprecation is not None:
            call.trailing.extend(_notice(deprecation))


def _notice(deprecation: Deprecation) -> list[tuple[str, str]]:
    notice = [(SUNSET, format_datetime(deprecation.sunset, usegmt=True))]
    if deprecation.replaced_by:
        notice.append((REPLACED_BY, deprecation.replaced_by))
    return notice
