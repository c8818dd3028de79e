"""Trailing metadata of finished calls, also of failed ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc.aio

from contracts.errors import ServiceError

if TYPE_CHECKING:
    from interceptors.chain.untyped import AnyCall

    Trailing = tuple[tuple[str, str | bytes], ...]


async def trailing_metadata_of(rpc: AnyCall) -> Trailing:
    """Return the trailing metadata of a finished call. It is empty if the call was never sent."""
    try:
        return tuple(await rpc.trailing_metadata() or ())
    except ServiceError as error:
        return trailing_metadata_of_error(error)


def trailing_metadata_of_error(error: ServiceError) -> Trailing:
    """Return the trailing metadata that came with the error of a call. It is empty if the call was never sent."""
    cause = error.__cause__
    return tuple(cause.trailing_metadata() or ()) if isinstance(cause, grpc.aio.AioRpcError) else ()
