"""Contracts that cannot be served, and methods without a contract, in any grpc.aio server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import pytest
from google.protobuf import descriptor_pool
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.duration_pb2 import Duration
from google.protobuf.empty_pb2 import Empty

from buf.validate import validate_pb2
from contracts.method import find_method
from contracts.policy import ContractError
from interceptors.chain.chained_server import ChainedServer
from interceptors.chain.server import ServerChain
from interceptors.deadline.interceptor import ServerDeadline
from interceptors.propagation import ServerContext
from interceptors.rate_limit.interceptor import ServerRateLimit
from interceptors.validation.interceptor import ServerValidation
from mesh.serving.engine import new_server
from solo60.mesh.v1 import policy_pb2

if TYPE_CHECKING:
    from collections.abc import Sequence

    from structlog.typing import EventDict

# Policies hold in every package.
PACKAGE = "acme.unusable.v1"


def contract(name: str, *policies: policy_pb2.MethodPolicy | None, rule: str = "") -> str:
    """Register a contract with one method per policy, named Do, Do1 and so on; return the full name of its service."""
    file = FileDescriptorProto(name=f"acme/unusable/v1/{name}.proto", package=PACKAGE, syntax="proto3")
    file.dependency.extend([policy_pb2.DESCRIPTOR.name, validate_pb2.DESCRIPTOR.name])
    message = file.message_type.add(name=f"{name}Request")
    field = message.field.add(name="text", number=1, type=9, label=1)
    if rule:
        field.options.Extensions[validate_pb2.field].cel.add(id="rule", message="is wrong", expression=rule)
    service = file.service.add(name=f"{name}Service")
    full_name = f"{PACKAGE}.{name}Request"
    for number, policy in enumerate(policies):
        name = f"Do{number or ''}"
        method = service.method.add(name=name, input_type=f".{full_name}", output_type=f".{full_name}")
        if policy is not None:
            method.options.Extensions[policy_pb2.policy].CopyFrom(policy)
    descriptor_pool.Default().AddSerializedFile(file.SerializeToString())
    return f"{PACKAGE}.{service.name}"


SECOND = Duration(seconds=1)
GOOD = policy_pb2.MethodPolicy(deadline=SECOND, scopes=["example.echo"])
LIMITED = policy_pb2.MethodPolicy(
    deadline=SECOND, rate_limit=policy_pb2.RateLimit(calls_per_second=1, per_field="nothing")
)
BAD = {
    contract("NoPolicy", None, GOOD): "has no policy",
    contract("BadRule", GOOD, rule="this.nothing("): "a rule of its messages does not compile",
    contract("BadLimit", LIMITED): "no single-valued field nothing",
}
each_bad_contract = pytest.mark.parametrize(("service", "reason"), BAD.items())


def test_a_service_without_any_policy_is_foreign() -> None:
    """A service that declares no policy at all is foreign: only a key with the scope mesh.inspect may call it."""
    foreign = contract("Foreign", None, None)

    chain().check(foreign)

    method = find_method(f"/{foreign}/Do1")
    assert method.is_foreign
    assert method.policy.scopes == {"mesh.inspect"}
    assert not find_method("/solo60.example.v1.EchoService/Echo").is_foreign


class SplitServicer:
    """Servicer that looks generated, with a contract that was not imported."""

    __module__ = "solo60.split.v1.split_service_pb2_grpc"

    async def Do(self, request: Any, context: Any) -> Any:
        """Do nothing."""


SPLIT = "solo60.split.v1.SplitService"
IMPORT_IT = "import solo60.split.v1.split_service_pb2"


def interceptors() -> Sequence[grpc.aio.ServerInterceptor]:
    """Return interceptors that read contracts."""
    return [ServerContext(), ServerDeadline(), ServerRateLimit(), ServerValidation()]


def chain() -> ServerChain:
    """Return the same interceptors as one chain."""
    return ServerChain([ServerContext(), ServerDeadline(), ServerRateLimit(), ServerValidation()])


def add(server: grpc.aio.Server, service: str) -> None:
    """Add a service like generated code does."""
    handler: dict[str, Any] = {
        "Do": grpc.unary_unary_rpc_method_handler(SplitServicer().Do, Empty.FromString, Empty.SerializeToString)
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handler),))
    server.add_registered_method_handlers(service, handler)


@each_bad_contract
@pytest.mark.parametrize("engine", ["grpcio", "native"])
async def test_an_unusable_contract_is_rejected_when_its_service_is_added(
    service: str,
    reason: str,
    engine: Any,
) -> None:
    """Adding a service with an unusable contract raises ContractError with the method's name, in either server."""
    for server in (new_server(engine, chain()._interceptors), ChainedServer(grpc.aio.server(), chain())):
        with pytest.raises(ContractError, match=reason) as caught:
            add(server, service)
        assert f"{service}.Do" in str(caught.value).replace("/", ".")


@each_bad_contract
def test_check_rejects_an_unusable_contract(service: str, reason: str) -> None:
    """check() raises ContractError for an unusable contract.

    Servers with plain interceptors call check() before they start.
    """
    with pytest.raises(ContractError, match=reason):
        chain().check("solo60.example.v1.EchoService", service)
    chain().check("solo60.example.v1.EchoService")


async def test_a_contract_that_is_not_imported_is_rejected() -> None:
    """Adding a service without an imported contract raises ContractError, which names the module to import."""
    with pytest.raises(ContractError, match=IMPORT_IT):
        add(ChainedServer(grpc.aio.server(), chain()), SPLIT)
    with pytest.raises(ContractError, match=f"No imported contract has the service {SPLIT}"):
        chain().check(SPLIT)


@pytest.mark.parametrize(("service", "reason"), [*BAD.items(), (SPLIT, IMPORT_IT)])
async def test_an_unchecked_unusable_contract_is_internal(service: str, reason: str, logs: list[EventDict]) -> None:
    """A call of an unchecked, unusable contract is INTERNAL without the reason, and the log names the reason."""
    server = grpc.aio.server(interceptors=interceptors())
    add(server, service)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        call: Any = channel.unary_unary(f"/{service}/Do")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(b"")
    await server.stop(0)
    assert caught.value.code() is grpc.StatusCode.INTERNAL
    assert caught.value.details() == "The contract of this method is unusable. The service's log has the reason."
    assert any(reason in str(line.get("reason")) for line in logs)


class EchoingGenericHandler(grpc.GenericRpcHandler):
    """Generic handler that echoes the requests of every method."""

    def service(self, handler_call_details: Any) -> Any:
        """Return a handler of the shape that serves all others."""

        async def back(requests: Any, _context: Any) -> Any:
            async for request in requests:
                yield handler_call_details.method.encode() + request

        return grpc.stream_stream_rpc_method_handler(back)


async def test_a_method_without_a_contract_bypasses_the_chain(logs: list[EventDict]) -> None:
    """A method without a contract, such as a proxy's, is served without our interceptors and without a log line."""
    shared = chain()
    server = grpc.aio.server(interceptors=[shared])
    server.add_generic_rpc_handlers((EchoingGenericHandler(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        for path in ("/acme.Proxy/Call", "/acme.Proxy/Other"):
            call: Any = channel.unary_unary(path)
            assert await call(b"!") == path.encode() + b"!"
    await server.stop(0)
    assert logs == []
    assert shared._handlers == {}
