"""Server that wraps each handler in a chain when the handler is registered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio

from contracts.errors import Unimplemented
from contracts.metadata import CORRELATION_ID, STATUS_DETAILS
from contracts.status import status_of_error
from interceptors.context import correlation_id_in

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from interceptors.chain.server import ServerChain
    from interceptors.chain.untyped import AnyContext


class ChainedServer(grpc.aio.Server):
    """Wrapper around a server of either engine that composes `chain` and handlers at registration.

    With `grpc.aio.server(interceptors=[chain])`, the server gets the handler from the chain on each call instead.

    Only services added by generated code are accepted, because other handlers would bypass the chain. A generic handler
    raises TypeError: at once, or in `start` if `grpc.method_handlers_generic_handler` made it. Adding a service with an
    unusable contract raises ContractError. A call of an unregistered method gets UNIMPLEMENTED with a correlation id.
    """

    def __init__(self, server: grpc.aio.Server, chain: ServerChain) -> None:
        self._server = server
        self._chain = chain
        self._announced: set[str] = set()
        self._registered: set[str] = set()

    def add_registered_method_handlers(
        self, service_name: str, method_handlers: Mapping[str, grpc.RpcMethodHandler[Any, Any]]
    ) -> None:
        composed = {
            name: self._chain.compose(f"/{service_name}/{name}", handler) for name, handler in method_handlers.items()
        }
        self._server.add_registered_method_handlers(service_name, composed)
        self._registered.add(service_name)

    def add_generic_rpc_handlers(self, generic_rpc_handlers: Iterable[grpc.GenericRpcHandler]) -> None:
        # Generated code registers each service in both ways, and in this one first.
        for handler in generic_rpc_handlers:
            if not isinstance(handler, grpc.ServiceRpcHandler):
                raise TypeError(
                    "ChainedServer accepts generated services, not generic handlers: use add_<Name>Servicer_to_server."
                )
            self._announced.add(handler.service_name())

    def add_insecure_port(self, address: str) -> int:
        return self._server.add_insecure_port(address)

    def add_secure_port(self, address: str, server_credentials: grpc.ServerCredentials) -> int:
        return self._server.add_secure_port(address, server_credentials)

    async def start(self) -> None:
        unregistered = self._announced - self._registered
        if unregistered:
            raise TypeError(
                f"{', '.join(sorted(unregistered))}: added only as a generic handler; use add_<Name>Servicer_to_server."
            )
        self._server.add_generic_rpc_handlers((_UnknownMethod(),))
        await self._server.start()

    async def stop(self, grace: float | None) -> None:
        await self._server.stop(grace)

    async def wait_for_termination(self, timeout: float | None = None) -> bool:  # noqa: ASYNC109 - as grpc.aio has it
        return await self._server.wait_for_termination(timeout)


class _UnknownMethod(grpc.GenericRpcHandler):
    """Fallback handler that rejects calls of unregistered methods."""

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any]:
        correlation_id = correlation_id_in(dict(handler_call_details.invocation_metadata or ()))  # type: ignore[arg-type]  # as grpc.aio has it
        error = Unimplemented("This server has no such method.")
        trailing = (
            (CORRELATION_ID, correlation_id),
            (STATUS_DETAILS, status_of_error(error, correlation_id).SerializeToString()),
        )

        async def reject(_requests: object, context: AnyContext) -> None:
            await context.abort(error.code, error.message, trailing)

        # A stream-stream handler accepts calls of every shape, and this one reads no request.
        return grpc.stream_stream_rpc_method_handler(reject)
