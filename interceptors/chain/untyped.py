"""Aliases of `Any` for objects of gRPC without a useful static type, one for each kind of object."""

from __future__ import annotations

from typing import Any, TypeAlias

# Call of grpc.aio, of any RPC shape: the four shapes have no base class with the methods that they share.
AnyCall: TypeAlias = Any
# Part of a call's status, or any other attribute of a call or of its context.
AnyAttribute: TypeAlias = Any
# Context of a call on the server: the native engine's is not a class of grpc.aio.
AnyContext: TypeAlias = Any
# Message of any type as an object or as bytes, or an iterator of messages.
AnyMessage: TypeAlias = Any
# Function that serves the calls of one method, of any RPC shape.
HandlerFunction: TypeAlias = Any
# Argument that is passed on to grpc.aio, which has no public type for it.
Argument: TypeAlias = Any
