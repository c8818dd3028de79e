"""Interceptor of error responses: the client raises the same class of exception as the handler."""

from __future__ import annotations

from interceptors.chain.server import ServerInterceptor
from interceptors.errors.responses import ErrorResponses


class ServerErrors(ErrorResponses, ServerInterceptor):
    """Server interceptor that sends every error of the chain and the handler as a rich status.

    This interceptor is always the outermost. A retry delay is sent twice: as RetryInfo for people, and as pushback for
    gRPC's core. Set `pushback` to False for a server that cannot send the latter. A call or an error that the method's
    contract does not declare is logged. With `send_undeclared`, the caller gets the same sentence.

    A fault is logged as the text that `describe` returns. A logger with access to the exception could print its frames,
    with the request and the API key in them.

    >>> call_echo(ServerErrors(), text="crash")  # the handler raises ValueError("postgres://user:secret@host")
    'INTERNAL'
    """
