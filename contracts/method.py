"""RPC methods: name, message types, streaming and policy, found by gRPC path."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING

from google.protobuf import descriptor_pool
from google.protobuf.descriptor_pb2 import MethodOptions
from google.protobuf.message_factory import GetMessageClass

from contracts.names import short_name
from contracts.policy import ContractError, Policy, declares_policy, read_policy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
    from google.protobuf.message import Message

# Policy of foreign methods. Their deadline is infinite, because a health watch never ends.
FOREIGN_POLICY = Policy(deadline_s=math.inf, scopes=frozenset({"mesh.inspect"}))


@dataclass(frozen=True, slots=True)
class Method:
    """An RPC, as its descriptor declares it.

    `full_name` is its name in contracts: "solo60.gym.v1.GymService/GetGym".
    """

    path: str
    service: str
    name: str
    request_type: type[Message]
    response_type: type[Message]
    request_streaming: bool
    response_streaming: bool
    policy: Policy
    full_name: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "full_name", self.path[1:])

    @property
    def short_name(self) -> str:
        """Name for people: "gym.GetGym". Short names are unique."""
        return short_name(self.full_name)

    @property
    def is_read_only(self) -> bool:
        """Whether the contract declares that the method has no side effects."""
        descriptor = descriptor_pool.Default().FindMethodByName(f"{self.service}.{self.name}")
        return bool(descriptor.GetOptions().idempotency_level == MethodOptions.NO_SIDE_EFFECTS)

    @property
    def is_foreign(self) -> bool:
        """Whether no method of the service declares a policy, as in gRPC's own health and reflection services."""
        return self.policy is FOREIGN_POLICY


def find_method(path: str) -> Method:
    """Return the method with this path ("/package.Service/Method").

    Raises ContractError if no imported contract has the method, or as `read_method` does.
    """
    service_name, _, name = path.removeprefix("/").partition("/")
    try:
        service = descriptor_pool.Default().FindServiceByName(service_name)
        descriptor = service.methods_by_name[name]
    except KeyError:
        raise ContractError(
            f"No imported contract has the method {path}: import the module that protoc generates from its file."
        ) from None
    return read_method(descriptor)


@cache
def read_method(descriptor: MethodDescriptor) -> Method:
    """Return the method of a descriptor; it gets FOREIGN_POLICY if no method of its service declares a policy.

    Raises ContractError if the method declares no policy but another method of its service does.
    """
    service: ServiceDescriptor = descriptor.containing_service
    is_foreign = not any(declares_policy(method) for method in service.methods)
    return Method(
        path=f"/{service.full_name}/{descriptor.name}",
        service=service.full_name,
        name=descriptor.name,
        request_type=GetMessageClass(descriptor.input_type),
        response_type=GetMessageClass(descriptor.output_type),
        request_streaming=descriptor.client_streaming,
        response_streaming=descriptor.server_streaming,
        policy=FOREIGN_POLICY if is_foreign else read_policy(descriptor),
    )


def methods_of(service: ServiceDescriptor) -> Iterator[Method]:
    """Yield the methods of `service` in the contract's order."""
    return map(read_method, service.methods)


def service_of_stub(stub_type: Callable[..., object]) -> ServiceDescriptor:
    """Return the service of a generated stub class."""
    package = stub_type.__module__.rpartition(".")[0]
    return descriptor_pool.Default().FindServiceByName(f"{package}.{stub_type.__name__.removesuffix('Stub')}")
