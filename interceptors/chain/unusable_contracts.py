"""Unusable contracts: detection of contracts that are not imported, and a handler that rejects calls."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

import structlog
from google.protobuf import descriptor_pool
from google.protobuf.message import Message

from contracts.errors import Internal
from contracts.metadata import STATUS_DETAILS
from contracts.policy import ContractError
from contracts.status import status_of_error
from interceptors.chain.handlers import GENERATED_SUFFIX, HANDLER_FACTORIES, handler_function

if TYPE_CHECKING:
    from collections.abc import Iterator

    import grpc
    from google.protobuf.descriptor import ServiceDescriptor

    from interceptors.chain.untyped import AnyContext, HandlerFunction

_MESSAGE = "The contract of this method is unusable. The service's log has the reason."

_log = structlog.stdlib.get_logger("solo60.contracts")


def find_service(name: str) -> ServiceDescriptor:
    """Return the service with this full name; raise ContractError if no imported contract has it."""
    try:
        return descriptor_pool.Default().FindServiceByName(name)
    except KeyError:
        raise ContractError(
            f"No imported contract has the service {name}: import the module that protoc generates from its file."
        ) from None


def is_described(path: str, handler: grpc.RpcMethodHandler[Any, Any]) -> bool:
    """Return whether a contract, imported or not, describes the method.

    A contract describes the method if its service is imported, or if its handler is generated or takes protobuf
    messages. Other handlers are generic: they use bytes or other objects.
    """
    return is_imported(path) or _takes_messages(handler) or bool(_generated_module(handler))


def is_imported(path: str) -> bool:
    """Return whether an imported contract has the service of the method at `path`."""
    try:
        descriptor_pool.Default().FindServiceByName(path.removeprefix("/").partition("/")[0])
    except KeyError:
        return False
    return True


def with_import_hint(error: ContractError, path: str, handler: grpc.RpcMethodHandler[Any, Any]) -> ContractError:
    """Return `error`, or an error that names the module to import if the handler's contract is not imported."""
    module = _generated_module(handler)
    if is_imported(path) or not module:
        return error
    return ContractError(f"No imported contract has the method {path}: import {module.removesuffix('_grpc')}.")


def rejecting_handler(
    path: str, handler: grpc.RpcMethodHandler[Any, Any], error: Exception
) -> grpc.RpcMethodHandler[Any, Any]:
    """Return a handler that rejects every call of the method with INTERNAL, and log the reason."""
    _log.error("a contract cannot be served", method=path.removeprefix("/"), reason=str(error))
    rejection = Internal(_MESSAGE)
    trailing = ((STATUS_DETAILS, status_of_error(rejection, "").SerializeToString()),)

    async def reject(_incoming: object, context: AnyContext) -> NoReturn:
        await context.abort(rejection.code, rejection.message, trailing)
        raise AssertionError("abort must raise an exception.")

    return HANDLER_FACTORIES[handler.request_streaming, handler.response_streaming](reject)


def _takes_messages(handler: grpc.RpcMethodHandler[Any, Any]) -> bool:
    owner = getattr(handler.request_deserializer, "__self__", None)
    return isinstance(owner, type) and issubclass(owner, Message)


def _generated_module(handler: grpc.RpcMethodHandler[Any, Any]) -> str:
    """Return the module that protoc generated for the handler's service; empty if there is none."""
    return next(_generated_bases(handler_function(handler)), "")


def _generated_bases(function: HandlerFunction) -> Iterator[str]:
    owner = getattr(function, "__self__", None)
    for kind in type(owner).__mro__ if owner is not None else ():
        if kind.__module__.endswith(GENERATED_SUFFIX):
            yield kind.__module__
