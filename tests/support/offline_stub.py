"""Stubs without a connection, for naming the methods of outbox messages without a channel to close."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from interceptors.chain.channel import ChainedChannel

if TYPE_CHECKING:
    import grpc.aio

    from mesh.serving.channel import Stub, StubClass


class _OfflineChannel:
    """Stand-in for a channel, without a connection."""

    def unary_unary(self, *_transport: Any, **_options: Any) -> None:
        """Send nothing."""

    unary_stream = stream_unary = stream_stream = unary_unary


def offline_stub(stub_type: StubClass[Stub]) -> Stub:
    """Return a stub for naming methods. Its methods cannot be called."""
    return stub_type(ChainedChannel(cast("grpc.aio.Channel", _OfflineChannel()), ()))
