"""Propagation of the correlation id and the user id from call to call."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from contracts.metadata import CORRELATION_ID
from interceptors.chain.client import ClientCall, ClientInterceptor
from interceptors.chain.server import ServerInterceptor
from interceptors.context import correlation_id_in, new_correlation_id, set_current_context

if TYPE_CHECKING:
    from interceptors.chain.call import Call

USER_ID = "x-user-id"
_USER_ID_FORM = re.compile(r"[A-Za-z0-9_-]{1,64}")


class ServerContext(ServerInterceptor):
    """Server interceptor that sets the call context and returns the correlation id to the caller.

    A correlation id has 8 to 64 letters, digits, "_" or "-", because it is written to logs. A missing or malformed id
    is replaced by a new one. A malformed user id is dropped.

    >>> call_echo(ServerContext(), metadata={"x-correlation-id": "order-2026_17"})
    'hi'
    """

    def start(self, call: Call) -> None:
        context = call.context
        context.correlation_id = correlation_id_in(call.metadata)
        call.trailing.append((CORRELATION_ID, context.correlation_id))
        user_id = call.metadata.get(USER_ID, "")
        if user_id and _USER_ID_FORM.fullmatch(user_id):
            context.user_id = user_id
        set_current_context(context)


class ClientContext(ClientInterceptor):
    """Client interceptor that sends the correlation id and user id of the call being served."""

    def start(self, call: ClientCall) -> None:
        context = call.served
        call.correlation_id = context.correlation_id if context else new_correlation_id()
        call.metadata.append((CORRELATION_ID, call.correlation_id))
        if context and context.user_id:
            call.metadata.append((USER_ID, context.user_id))
