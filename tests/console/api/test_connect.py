"""Calls over the Connect protocol to a running mesh, by the client of connectrpc and by plain HTTP."""

from __future__ import annotations

import gzip
import json
import socket
from base64 import urlsafe_b64encode
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode
from uuid import uuid4

import pytest
from connectrpc.client import ResponseMetadata
from connectrpc.code import Code
from connectrpc.errors import ConnectError

from console.api.codecs import END_OF_STREAM, MAX_REQUEST_BYTES, envelope
from solo60.gym.v1 import gym_pb2
from solo60.session.v1 import session_pb2
from tests.support.api_client import JSON, HttpAnswer, ask, connect_client, method_info, operator_key
from tests.support.console_process import running_console
from tests.support.local_mesh import LocalMesh, wait_for
from tests.support.log_records import records_of

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.system

GET_GYM = "/solo60.gym.v1.GymService/GetGym"
LIST_GYMS = "/solo60.gym.v1.GymService/ListGyms"
CREATE_GYM = "/solo60.gym.v1.GymService/CreateGym"
WATCH = "/solo60.session.v1.SessionService/WatchAvailability"
NO_GYM = "0190a6b0-0000-7000-8000-000000000000"
WINDOW = {"startTime": "2100-01-01T00:00:00Z", "endTime": "2100-01-02T00:00:00Z"}


@pytest.fixture(scope="module")
def address(console_mesh: LocalMesh) -> str:
    """Return the address of the console."""
    return console_mesh.settings.console_listen_address


@pytest.fixture(scope="module")
def key(console_mesh: LocalMesh) -> str:
    """Return the operator's key."""
    return operator_key(console_mesh)


def new_gym() -> gym_pb2.CreateGymRequest:
    """Return a request for a gym with a new name."""
    request = gym_pb2.CreateGymRequest(name=f"Gym {uuid4().hex}", time_zone="Europe/London", credits_per_hour=10)
    request.price_per_hour.currency_code = "GBP"
    request.price_per_hour.minor_units = 1250
    return request


@pytest.mark.parametrize("codec", ["json", "proto"])
def test_a_client_of_connect_creates_and_reads_a_gym(address: str, key: str, codec: str) -> None:
    """A client of another project calls by POST and GET, and a repeated idempotency key replays the first response."""
    headers = {"x-api-key": key, "idempotency-key": str(uuid4())}
    request = new_gym()
    with connect_client(address, codec) as client:
        first = client.execute_unary(request=request, method=method_info(CREATE_GYM), headers=headers)
        with ResponseMetadata() as metadata:
            again = client.execute_unary(request=request, method=method_info(CREATE_GYM), headers=headers)
        asked = gym_pb2.GetGymRequest(gym_id=first.gym.gym_id)
        read = client.execute_unary(
            request=asked, method=method_info(GET_GYM), headers={"authorization": f"Bearer {key}"}, use_get=True
        )

    assert first == again
    assert metadata.trailers["idempotent-replayed"] == "true"
    assert read.gym.name == request.name


@pytest.mark.parametrize("codec", ["json", "proto"])
def test_a_client_of_connect_watches_availability(address: str, key: str, codec: str) -> None:
    """The first message of a stream arrives while the stream is open."""
    request = session_pb2.WatchAvailabilityRequest(gym_id=NO_GYM)
    request.period.start_time.FromJsonString(WINDOW["startTime"])
    request.period.end_time.FromJsonString(WINDOW["endTime"])
    with connect_client(address, codec) as client:
        stream = client.execute_server_stream(request=request, method=method_info(WATCH), headers={"x-api-key": key})

        assert next(iter(stream)) == session_pb2.WatchAvailabilityResponse()


def test_a_client_of_connect_gets_the_error_of_a_stream(address: str, key: str) -> None:
    """The error of a stream is in its last message, with the violations."""
    request = session_pb2.WatchAvailabilityRequest(gym_id="gym")
    with connect_client(address, "json") as client, pytest.raises(ConnectError) as caught:
        list(client.execute_server_stream(request=request, method=method_info(WATCH), headers={"x-api-key": key}))

    assert caught.value.code is Code.INVALID_ARGUMENT
    assert [each.type_name for each in caught.value.details] == ["google.rpc.ErrorInfo", "google.rpc.BadRequest"]


def test_a_client_of_connect_gets_the_error_of_a_call(address: str, key: str) -> None:
    """An error has its code and its details."""
    request = gym_pb2.GetGymRequest(gym_id=NO_GYM)
    with connect_client(address, "proto") as client, pytest.raises(ConnectError) as caught:
        client.execute_unary(request=request, method=method_info(GET_GYM), headers={"x-api-key": key})

    assert caught.value.code is Code.NOT_FOUND
    assert [each.type_name for each in caught.value.details] == ["google.rpc.ErrorInfo"]


def test_an_error_names_the_fields_and_the_call(address: str, key: str) -> None:
    """An error has the violations, and the correlation id of the request, which is in the response too."""
    sent = {"x_api_key": key, "x_correlation_id": "order-2026-17"}
    answer = ask(address, GET_GYM, '{"gymId": "gym"}', **JSON, **sent)

    assert answer.status == 400
    assert answer.json()["code"] == "invalid_argument"
    assert answer.detail("BadRequest")["fieldViolations"] == [
        {"field": "gym_id", "description": "must be a valid UUID"}
    ]
    assert answer.detail("ErrorInfo")["reason"] == "INVALID_REQUEST"
    assert answer.detail("ErrorInfo")["metadata"] == {"correlation_id": "order-2026-17"}
    assert answer.headers["x-correlation-id"] == answer.headers["trailer-x-correlation-id"] == "order-2026-17"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ('{"gymId": 5}', "gym_id"),
        ('{"gym": "x"}', "gym"),
        ('{"period": {"startTime": "soon"}}', "period.start_time"),
        ('{"period": {"start": 1}}', "period.start"),
    ],
)
def test_bad_json_names_its_field(address: str, key: str, body: str, field: str) -> None:
    """A request that is not the JSON of its message is rejected with the path of the faulty field."""
    answer = ask(address, CHECK_CONFLICTS, body, **JSON, x_api_key=key)

    assert (answer.status, answer.json()["code"]) == (400, "invalid_argument")
    assert [each["field"] for each in answer.detail("BadRequest")["fieldViolations"]] == [field]


CHECK_CONFLICTS = "/solo60.session.v1.SessionService/CheckConflicts"
BOMB = gzip.compress(bytes(200 * MAX_REQUEST_BYTES), mtime=0)
GET_QUERY = {"connect": "v1", "encoding": "json", "message": "{}"}


def query(path: str, **changes: str | None) -> str:
    """Return the path and query of a call by GET."""
    parameters = {name: value for name, value in {**GET_QUERY, **changes}.items() if value is not None}
    return f"{path}?{urlencode(parameters)}"


@pytest.mark.parametrize(
    ("path", "body", "headers", "status", "code"),
    [
        ("/solo60.gym.v1.GymService/Nothing", "{}", {}, 404, "unimplemented"),
        ("/solo60.example.v1.EchoService/Echo", "{}", {}, 404, "unimplemented"),
        (f"{LIST_GYMS}/", "{}", {}, 404, "unimplemented"),
        (query(CREATE_GYM), None, {}, 405, "unimplemented"),
        (query(WATCH), None, {}, 405, "unimplemented"),
        (LIST_GYMS, "{}", {"content_type": "text/plain"}, 415, "unimplemented"),
        (LIST_GYMS, "{}", {"content_type": "application/connect+json"}, 415, "unimplemented"),
        (WATCH, "{}", {}, 415, "unimplemented"),
        (query(LIST_GYMS, encoding="xml"), None, {}, 415, "unimplemented"),
        (query(LIST_GYMS, encoding=None), None, {}, 415, "unimplemented"),
        (query(LIST_GYMS, message=None), None, {}, 400, "invalid_argument"),
        (query(LIST_GYMS, message="!", base64="1"), None, {}, 400, "invalid_argument"),
        (query(LIST_GYMS, message="ü", base64="1"), None, {}, 400, "invalid_argument"),
        (query(LIST_GYMS, connect="v2"), None, {}, 400, "invalid_argument"),
        (query(LIST_GYMS, compression="br"), None, {}, 501, "unimplemented"),
        (LIST_GYMS, "{}", {"connect_protocol_version": "2"}, 400, "invalid_argument"),
        (LIST_GYMS, "{}", {"connect_timeout_ms": "1s"}, 400, "invalid_argument"),
        (LIST_GYMS, "{}", {"connect_timeout_ms": "-1"}, 400, "invalid_argument"),
        (LIST_GYMS, "{}", {"connect_timeout_ms": "12345678901"}, 400, "invalid_argument"),
        (LIST_GYMS, "{}", {"connect_timeout_ms": "0"}, 504, "deadline_exceeded"),
        (LIST_GYMS, "", {}, 400, "invalid_argument"),
        (LIST_GYMS, "[]", {}, 400, "invalid_argument"),
        (LIST_GYMS, b'{"pageToken": "\xff"}', {}, 400, "invalid_argument"),
        (LIST_GYMS, '{"a":' * 100_000, {}, 400, "invalid_argument"),
        (LIST_GYMS, b"\xff", {"content_type": "application/proto"}, 400, "invalid_argument"),
        (LIST_GYMS, "{}", {"content_encoding": "br"}, 501, "unimplemented"),
        (LIST_GYMS, "{}", {"content_encoding": "gzip"}, 400, "invalid_argument"),
        (LIST_GYMS, gzip.compress(b"{}", mtime=0)[:-4], {"content_encoding": "gzip"}, 400, "invalid_argument"),
        (LIST_GYMS, BOMB, {"content_encoding": "gzip"}, 413, "resource_exhausted"),
        (LIST_GYMS, " " * MAX_REQUEST_BYTES + "{}", {}, 413, "resource_exhausted"),
        (LIST_GYMS, " " * 8 * MAX_REQUEST_BYTES, {}, 413, "resource_exhausted"),
        (CREATE_GYM, "{}", {}, 400, "invalid_argument"),
        (CREATE_GYM, "{}", {"idempotency_key": "caf\u00e9"}, 400, "invalid_argument"),
        (LIST_GYMS, "{}", {"x_api_key": "sk_dev_unknown"}, 401, "unauthenticated"),
        (LIST_GYMS, "{}", {"x_api_key": ""}, 401, "unauthenticated"),
    ],
)
def test_a_bad_request_has_an_error(
    address: str, key: str, path: str, body: bytes | str | None, headers: dict[str, str], status: int, code: str
) -> None:
    """Each bad request has an error with the status and the code that the protocol has for it."""
    sent = body.encode() if isinstance(body, str) else body
    answer = ask(address, path, sent, **{"content_type": JSON["content-type"], "x_api_key": key, **headers})

    assert (answer.status, answer.json()["code"]) == (status, code)
    assert answer.json()["message"]
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"


def test_an_error_of_http_says_what_is_accepted(address: str, key: str) -> None:
    """The headers of a response name the methods and the media types that a path accepts."""
    assert ask(address, CREATE_GYM, verb="DELETE").headers["allow"] == "POST"
    assert ask(address, LIST_GYMS, verb="DELETE").headers["allow"] == "GET, POST"
    assert ask(address, LIST_GYMS, b"{}", x_api_key=key).headers["accept-post"] == "application/json, application/proto"


def test_a_message_may_be_in_base64(address: str, key: str) -> None:
    """A GET request may have its message in base64, with or without padding, and compressed."""
    packed = urlsafe_b64encode(b'{"pageSize":1}').decode()
    pressed = urlsafe_b64encode(gzip.compress(b'{"pageSize":1}', mtime=0)).decode()

    assert "=" in packed
    for path in (
        query(LIST_GYMS, message=packed, base64="1"),
        query(LIST_GYMS, message=packed.rstrip("="), base64="1"),
        query(LIST_GYMS, message=pressed, base64="1", compression="gzip"),
    ):
        assert ask(address, path, x_api_key=key).status == 200


def test_a_key_without_the_scope_is_refused(address: str, console_mesh: LocalMesh) -> None:
    """The service decides about scopes: the console's own key may not create a gym."""
    own = console_mesh.settings.key_path_of("console").read_text().strip()
    answer = ask(address, CREATE_GYM, "{}", **JSON, x_api_key=own, idempotency_key="a-key")

    assert (answer.status, answer.json()["code"]) == (403, "permission_denied")
    assert answer.detail("ErrorInfo")["metadata"]["scopes"] == "gym.write"


def test_a_session_of_the_console_is_no_key(address: str, key: str) -> None:
    """The cookie of a signed-in reader makes no call."""
    origin = f"http://{address}"
    form = {"content_type": "application/x-www-form-urlencoded", "origin": origin}
    signed_in = ask(address, "/session", urlencode({"key": key}), **form)
    cookie = signed_in.headers["set-cookie"].partition(";")[0]

    assert signed_in.status == 303
    assert ask(address, LIST_GYMS, "{}", **JSON, origin=origin, cookie=cookie).status == 401


def test_a_call_from_another_site_is_refused(address: str, key: str) -> None:
    """A page of another site cannot call, even with a key."""
    assert ask(address, LIST_GYMS, "{}", **JSON, x_api_key=key, origin="http://evil.example").status == 403


@pytest.mark.parametrize(
    "body",
    [b"", b"{}", envelope(b"{}") + b"x", envelope(b"{}", END_OF_STREAM), envelope(gzip.compress(b"{}", mtime=0), 1)],
    ids=["empty", "no envelope", "too long", "end of stream", "compressed without a name"],
)
def test_a_stream_needs_one_message(address: str, key: str, body: bytes) -> None:
    """The body of a stream must be one message in an envelope. The error is in the last message."""
    answer = ask(address, WATCH, body, content_type="application/connect+json", x_api_key=key)
    end = json.loads(answer.body[5:])

    assert (answer.status, answer.headers["content-type"]) == (200, "application/connect+json")
    assert answer.body[0] == END_OF_STREAM
    assert end["error"]["code"] == "invalid_argument"


def test_a_client_that_leaves_cancels_its_call(address: str, key: str, console_mesh: LocalMesh) -> None:
    """A stream whose client closed the connection ends in the service at once."""
    correlation_id = uuid4().hex
    body = envelope(json.dumps({"gymId": NO_GYM, "period": WINDOW}).encode())
    head = (
        f"POST {WATCH} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/connect+json\r\n"
        f"X-Api-Key: {key}\r\nX-Correlation-Id: {correlation_id}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=10) as client:
        client.sendall(head.encode() + body)
        received = b""
        while envelope(b"{}") not in received:
            received += client.recv(4096)

    assert correlation_id.encode() in received
    wait_for(lambda: codes_in(console_mesh, "session", correlation_id) == ["CANCELLED"])
    wait_for(lambda: codes_in(console_mesh, "console", correlation_id) == ["CANCELLED"])


def codes_in(mesh: LocalMesh, service: str, correlation_id: str) -> list[str]:
    """Return the codes of the calls of one correlation id, in the log of a service."""
    records = records_of(mesh.settings.log_path_of(service))
    return [each["code"] for each in records if each.get("correlation_id") == correlation_id and "code" in each]


def test_no_key_is_in_a_log(address: str, key: str, console_mesh: LocalMesh) -> None:
    """The log has the method and the caller of each call, and never the key or an invalid key."""
    ask(address, LIST_GYMS, "{}", **JSON, x_api_key=key)
    ask(address, LIST_GYMS, "{}", **JSON, x_api_key="sk_dev_unknown")
    log = (console_mesh.data_dir / "logs" / "console.jsonl").read_text()

    assert '"method":"solo60.gym.v1.GymService/ListGyms","caller":"operator","code":"OK"' in log
    assert key not in log
    assert "sk_dev_unknown" not in log


def test_an_unknown_key_reaches_no_service(address: str, key: str, console_mesh: LocalMesh) -> None:
    """The console itself rejects an unknown key, and says where to find one."""
    ids = {name: uuid4().hex for name in ("unknown", "known")}
    answer = ask(address, LIST_GYMS, "{}", **JSON, x_api_key="sk_dev_unknown", x_correlation_id=ids["unknown"])
    ask(address, LIST_GYMS, "{}", **JSON, x_api_key=key, x_correlation_id=ids["known"])

    assert ".data/keys/operator" in answer.json()["message"]
    # The log is in the order of the calls.
    wait_for(lambda: codes_in(console_mesh, "gym", ids["known"]) == ["OK"])
    assert codes_in(console_mesh, "gym", ids["unknown"]) == []


@pytest.fixture(scope="module")
def strict_address(console_mesh: LocalMesh) -> Iterator[str]:
    """Run a console that requires a login and cannot reach the payment service, and return its address."""
    with running_console(console_mesh, console_login=True, payment_service_url="127.0.0.1:1") as console:
        yield console.address


def test_an_unreachable_service_is_unavailable(strict_address: str, key: str) -> None:
    """A call of a service that does not answer gets 503."""
    path = "/solo60.payment.v1.PaymentService/GetBalance"
    answer = ask(strict_address, path, json.dumps({"userId": NO_GYM}), **JSON, x_api_key=key)

    assert (answer.status, answer.json()["code"]) == (503, "unavailable")
    assert answer.detail("ErrorInfo")["reason"] == "UNAVAILABLE"


def test_a_login_is_not_needed_for_calls(strict_address: str, key: str) -> None:
    """With CONSOLE_LOGIN, a key alone calls a method and reads the document; without a key, nothing is shown."""

    def status(path: str, body: bytes | None = None, **headers: str) -> int:
        answer: HttpAnswer = ask(strict_address, path, body, **JSON, **headers)
        return answer.status

    found: dict[str, Any] = {
        "call": status(LIST_GYMS, b"{}", x_api_key=key),
        "call without a key": status(LIST_GYMS, b"{}"),
        "document": status("/internal/openapi.json", x_api_key=key),
        "document without a key": status("/internal/openapi.json"),
        "reference without a session": status("/internal/docs/openapi", x_api_key=key),
    }
    assert found == {
        "call": 200,
        "call without a key": 401,
        "document": 200,
        "document without a key": 401,
        "reference without a session": 401,
    }
