from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
import pytest
from grpc_health.v1 import health_pb2
from grpc_health.v1.health_pb2_grpc import HealthStub
from prometheus_client import CollectorRegistry

from contracts.errors import Internal, SlotTaken, Unauthenticated, UnknownError
from interceptors.chain.client import ClientCall
from interceptors.metrics.interceptor import ClientMetrics
from solo60.example.v1 import echo_pb2
from tests.interceptors.metrics.samples import ECHO, samples, total
from tests.support.call_shapes import HI, raising

if TYPE_CHECKING:
    from tests.support.echo_server import EchoServer

# Names that grpc-go's `codes.Code.String()` returns. go-grpc-prometheus uses them as labels.
GO_CODES = [
    "OK",
    "Canceled",
    "Unknown",
    "InvalidArgument",
    "DeadlineExceeded",
    "NotFound",
    "AlreadyExists",
    "PermissionDenied",
    "ResourceExhausted",
    "FailedPrecondition",
    "Aborted",
    "OutOfRange",
    "Unimplemented",
    "Internal",
    "Unavailable",
    "DataLoss",
    "Unauthenticated",
]


@pytest.mark.parametrize("status", grpc.StatusCode)
def test_codes_are_labelled_as_in_go_grpc_prometheus(status: grpc.StatusCode) -> None:
    """Every status code has the label of go-grpc-prometheus, so that its dashboards and alerts work."""
    registry = CollectorRegistry()
    call = ClientCall(ECHO, [], None)

    error = None if status is grpc.StatusCode.OK else UnknownError(status)
    finish = ClientMetrics(registry).start_of(call.method)(call)
    assert finish is not None
    finish(call, error)

    assert list(samples(registry, "grpc_client_handled_total")) == [(GO_CODES[status.value[0]], "", "unary/Echo")]


@pytest.mark.requirement("S5")
async def test_a_caller_without_a_valid_key_has_no_label(echo: EchoServer) -> None:
    """A call with an invalid key is counted with an empty caller, so that strangers cannot make up label values."""
    with pytest.raises(Unauthenticated):
        await echo.stub("sk_test_of_nobody").Echo(HI)

    assert samples(echo.registry, "grpc_server_handled_total") == {
        ("Unauthenticated", "UNAUTHENTICATED", "", "unary/Echo"): 1
    }


@pytest.mark.requirement("S5")
async def test_an_undeclared_reason_is_no_label(echo: EchoServer) -> None:
    """A reason that the method does not declare is counted as INTERNAL, so that the number of labels is bounded."""
    with pytest.raises(SlotTaken):
        await raising(echo, SlotTaken()).Echo(HI)
    with pytest.raises(Internal):  # EchoMany does not declare SLOT_TAKEN
        await raising(echo, SlotTaken()).EchoMany(echo_pb2.EchoManyRequest(text="hi", repeat=1)).read()
    await echo.stop()

    reasons = {key[1] for key in samples(echo.registry, "grpc_server_handled_total")}
    assert reasons == {"SLOT_TAKEN", "INTERNAL"}


async def test_health_checks_are_not_counted(echo: EchoServer) -> None:
    """Health checks are not counted as calls."""
    stub: Any = HealthStub(echo.bare_channel())
    await stub.Check(health_pb2.HealthCheckRequest())

    assert total(echo.registry, "grpc_server_started_total") == 0


@pytest.mark.requirement("S5")
async def test_an_unserved_method_is_not_counted(echo: EchoServer) -> None:
    """Calls to unserved methods are not counted, so that strangers cannot make up label values."""
    call: Any = echo.bare_channel().unary_unary("/no.Such/Method")
    with pytest.raises(Exception, match="UNIMPLEMENTED"):
        await call(b"")

    assert samples(echo.registry, "grpc_server_started_total") == {}
