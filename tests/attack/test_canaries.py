from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from urllib.request import Request, urlopen

import grpc.aio
import pytest

from contracts.errors import ServiceError
from contracts.method import Method, methods_of
from contracts.redaction import redacted
from contracts.services import SERVICE_NAMES, SERVICES
from contracts.violations import violations_of
from local.keys import OPERATOR
from local.supervised_settings import METRICS_PORT_DISTANCE
from mesh.serving.channel import Channels
from solo60.communication.v1 import communication_pb2
from solo60.communication.v1.communication_pb2_grpc import CommunicationServiceStub
from solo60.user.v1.user_pb2 import CreateUserRequest, GetUserByEmailRequest
from solo60.user.v1.user_pb2_grpc import UserServiceStub
from tests.attack.canaries import Canaries, files_containing

if TYPE_CHECKING:
    from tests.support.local_mesh import LocalMesh

# These folders may contain personal values or keys: the database, the mails, and the keys themselves.
ALLOWED_FOLDERS = frozenset({"postgres", "inbox", "keys"})
ALL_METHODS = [method for service in SERVICES.values() for method in methods_of(service)]


@pytest.mark.requirement("S4")
@pytest.mark.parametrize("method", ALL_METHODS, ids=lambda method: method.full_name)
def test_no_personal_value_is_logged_or_in_violations(method: Method) -> None:
    """The logged form of a message and the violations of a request contain no value of a personal field."""
    canaries = Canaries()
    request, answer = method.request_type(), method.response_type()
    canaries.plant(request)
    canaries.plant(answer)

    assert canaries.mark not in str(redacted(request)) + str(redacted(answer))
    assert canaries.mark not in str(violations_of(request))


async def errors_for_callers(mesh: LocalMesh, key: str, canaries: Canaries) -> list[str]:
    """Call every method with canaries in its request; return the texts and metadata of the errors."""
    error_texts = []
    for name, service in SERVICES.items():
        async with grpc.aio.insecure_channel(mesh.settings.url_of(name)) as channel:
            for method in methods_of(service):
                for whole in (True, False):
                    request = method.request_type()
                    canaries.plant(request)
                    raw = request.SerializeToString() if whole else request.SerializeToString()[:-1]
                    metadata = (("x-api-key", key), ("idempotency-key", f"canaries-{method.name}-{whole}"))
                    call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(method.path)
                    try:
                        await call(raw, metadata=metadata, timeout=30)
                    except grpc.aio.AioRpcError as error:
                        error_texts.append(f"{error.details()} {error.trailing_metadata()} {error.initial_metadata()}")
    return error_texts


def scraped(mesh: LocalMesh, name: str) -> str:
    """Return the metrics of a service in both formats, because only OpenMetrics has exemplars."""
    host, _, port = mesh.settings.listen_address_of(name).rpartition(":")
    url = f"http://{host}:{int(port) + METRICS_PORT_DISTANCE}/metrics"
    pages = []
    for accepted in ("text/plain", "application/openmetrics-text"):
        with urlopen(Request(url, headers={"Accept": accepted}), timeout=30) as answer:
            pages.append(answer.read().decode())
    return "".join(pages)


@pytest.mark.requirement("S4")
@pytest.mark.system
async def test_no_personal_value_or_key_leaks(attacked_mesh: LocalMesh) -> None:
    """After calls of every method, no error, metric or file outside ALLOWED_FOLDERS contains a canary or a key."""
    mesh, canaries = attacked_mesh, Canaries()
    key = mesh.settings.key_path_of(OPERATOR).read_text().strip()
    keys = [mesh.settings.key_path_of(name).read_text().strip() for name in (*SERVICE_NAMES, OPERATOR)]
    channels = Channels(mesh.settings, lambda: key)
    users, post = channels.stub(UserServiceStub), channels.stub(CommunicationServiceStub)
    email, name = canaries.email(), canaries.text()
    await users.CreateUser(CreateUserRequest(email=email, display_name=name))
    with pytest.raises(ServiceError) as taken:
        await users.CreateUser(CreateUserRequest(email=email, display_name=name))
    await users.GetUserByEmail(GetUserByEmailRequest(email=email))
    await post.SendEmail(
        communication_pb2.SendEmailRequest(
            recipient=communication_pb2.Recipient(email=email, display_name=name),
            template_key="PASSWORD_RESET",
            variables={"member_name": name, "code": canaries.text()},
        )
    )
    await channels.close()

    error_texts = await errors_for_callers(mesh, key, canaries)

    await asyncio.sleep(1)  # Spans are written up to a second after their calls.
    assert len(error_texts) > len(ALL_METHODS)
    secrets = [canaries.mark, *keys, *(each.split("_")[-1] for each in keys)]
    assert [each for each in (str(taken.value), *error_texts) if any(secret in each for secret in secrets)] == []
    assert files_containing(mesh.data_dir, secrets, allowed_folders=ALLOWED_FOLDERS) == {}
    for name in SERVICE_NAMES:
        metrics = await asyncio.to_thread(scraped, mesh, name)
        assert "grpc_server_handled_total{" in metrics
        assert [secret for secret in secrets if secret in metrics] == []
        assert mesh.settings.log_path_of(name).stat().st_size > 0
        assert any(mesh.settings.local_span_dir.glob(f"{name}*")) or name in {"auth", "subscription"}


@pytest.mark.system
def test_the_search_for_leaks_finds_a_key(attacked_mesh: LocalMesh) -> None:
    """The search for secrets finds the operator's key in its key file, and in no other file."""
    key = attacked_mesh.settings.key_path_of(OPERATOR).read_text().strip()

    assert files_containing(attacked_mesh.data_dir, [key], allowed_folders=ALLOWED_FOLDERS - {"keys"}) == {
        f"keys/{OPERATOR}": [key]
    }
