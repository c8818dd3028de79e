"""Chained server: a server whose handlers stand inside a chain from the moment they are registered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio

from contracts.errors import Unimplemented
from interceptors.context import correlation_id_in
from interceptors.errors import CORRELATION_ID, STATUS_DETAILS, status_of_error

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from interceptors.server import ServerChain


class ChainedServer(grpc.aio.Server):
    """A server, of whatever engine, that asks nothing on a call, as `grpc.aio.server(interceptors=[chain])` does.

    It takes the services that generated code adds. What is added in another way would escape the chain and is refused
    with TypeError: a generic handler at once, one of `grpc.method_handlers_generic_handler` when the server starts. A
    contract that cannot be served is refused with ContractError as its service is added. A method that nobody has added
    is answered UNIMPLEMENTED, with a correlation id as every other answer.
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
        # Generated code adds each service in both ways, and in this one first.
        for handler in generic_rpc_handlers:
            if not isinstance(handler, grpc.ServiceRpcHandler):
                raise TypeError("this server takes services that generated code adds, not generic handlers")
            self._announced.add(handler.service_name())

    def add_insecure_port(self, address: str) -> int:
        return self._server.add_insecure_port(address)

    def add_secure_port(self, address: str, server_credentials: grpc.ServerCredentials) -> int:
        return self._server.add_secure_port(address, server_credentials)

    async def start(self) -> None:
        escaped = self._announced - self._registered
        if escaped:
            raise TypeError(
                f"{', '.join(sorted(escaped))}: added as a generic handler alone, which nothing would serve"
            )
        self._server.add_generic_rpc_handlers((_Unknown(),))
        await self._server.start()

    async def stop(self, grace: float | None) -> None:
        await self._server.stop(grace)

    async def wait_for_termination(self, timeout: float | None = None) -> bool:  # noqa: ASYNC109 - as grpc.aio has it
        return await self._server.wait_for_termination(timeout)


class _Unknown(grpc.GenericRpcHandler):
    """Refuses every method that no other handler has taken."""

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any]:
        correlation_id = correlation_id_in(dict(handler_call_details.invocation_metadata or ()))  # type: ignore[arg-type]  # as grpc.aio has it
        error = Unimplemented("There is no such method here.")
        trailing = (
            (CORRELATION_ID, correlation_id),
            (STATUS_DETAILS, status_of_error(error, correlation_id).SerializeToString()),
        )

        async def refuse(_requests: object, context: Any) -> None:  # noqa: ANN401 - of either engine
            await context.abort(error.code, error.message, trailing)

        # On the wire it takes calls of every shape, and nothing is read of them.
        return grpc.stream_stream_rpc_method_handler(refuse)
