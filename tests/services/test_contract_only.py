from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from contracts.errors import Unimplemented
from contracts.method import methods_of
from mesh.serving.health_probe import SERVING, probe_of
from services.auth import app as auth
from solo60.auth.v1.auth_pb2_grpc import AuthServiceStub

if TYPE_CHECKING:
    from mesh.serving.service import Service
    from tests.support.serving import Serve

CONTRACT_ONLY = [
    (auth.SERVICE, AuthServiceStub),
]


@pytest.mark.requirement("C1")
@pytest.mark.parametrize(("service", "stub_type"), CONTRACT_ONLY)
async def test_every_contract_only_method_is_unimplemented(
    serve: Serve, service: Service, stub_type: type[Any]
) -> None:
    """A contract-only method is served and fails with UNIMPLEMENTED and its own name, not with an internal error."""
    mesh = await serve(service)
    stub = mesh.stub(stub_type)

    methods = [method for method in methods_of(service.descriptor) if method.policy.contract_only]

    assert methods
    for method in methods:
        with pytest.raises(Unimplemented, match=method.full_name):
            await getattr(stub, method.name)(method.request_type(), metadata=(("idempotency-key", "k" * 16),))


@pytest.mark.requirement("S5")
async def test_a_contract_only_service_is_serving(serve: Serve) -> None:
    """Health reports a contract-only service as SERVING, because its process works."""
    mesh = await serve(auth.SERVICE)

    async with probe_of(mesh.settings.url_of("auth"), auth.SERVICE.descriptor.full_name) as probe:
        assert await probe() == SERVING
