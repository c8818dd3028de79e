"""Stubs that call nobody: for naming what is left to an outbox, without a connection that has to be closed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from interceptors.chained_channel import ChainedChannel

if TYPE_CHECKING:
    import grpc.aio

    from mesh.channel import Stub, StubClass


class _Nobody:
    """Stands where a channel would: it has no connection, and nothing can be sent."""

    def unary_unary(self, *_transport: Any, **_options: Any) -> None:  # noqa: ANN401 - as generated code calls it
        """Send nothing."""

    unary_stream = stream_unary = stream_stream = unary_unary


def stub_of_nobody(stub_type: StubClass[Stub]) -> Stub:
    """Make a stub whose methods can be named and not called."""
    return stub_type(ChainedChannel(cast("grpc.aio.Channel", _Nobody()), ()))
