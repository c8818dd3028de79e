"""OpenAPI documents that `buf generate` has written, of this repository and of examples/acme."""

from __future__ import annotations

import asyncio
import json
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf import json_format
from openapi_spec_validator import OpenAPIV31SpecValidator

from contracts.method import find_method
from contracts.services import our_services
from contracts.violations import violations_of
from services.gym.app import SERVICE
from solo60.gym.v1.gym_pb2 import CreateGymRequest, ListGymsRequest
from solo60.gym.v1.gym_pb2_grpc import GymServiceStub
from tests.contracts.documents.schemas import Schemas
from tests.support.node import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.serving import Serve

FILES = {"solo60": ROOT / "gen/docs/openapi.json", "acme": ROOT / "examples/acme/gen/docs/openapi.json"}
DOCUMENTS: dict[str, Any] = {name: json.loads(path.read_text(encoding="utf-8")) for name, path in FILES.items()}
OPERATIONS = {path: item["post"] for path, item in DOCUMENTS["solo60"]["paths"].items()}
CONTENT_TYPES = {"application/json", "application/connect+json"}


@pytest.fixture(scope="module")
def schemas() -> Schemas:
    """Return the schemas of our document."""
    return Schemas(DOCUMENTS["solo60"]["components"]["schemas"])


def body_of(message: dict[str, Any]) -> dict[str, Any]:
    """Return the only body of a request or a response."""
    [(media_type, body)] = message["content"].items()
    assert media_type in CONTENT_TYPES
    return body  # type: ignore[no-any-return]


def name_of(schema: dict[str, str]) -> str:
    """Return the component that a reference names."""
    return schema["$ref"].rpartition("/")[2]


@pytest.mark.parametrize("document", DOCUMENTS.values(), ids=DOCUMENTS)
def test_a_document_is_valid(document: dict[str, Any]) -> None:
    """Each document is valid OpenAPI 3.1."""
    OpenAPIV31SpecValidator(document).validate()


@pytest.mark.parametrize("file", FILES.values(), ids=FILES)
def test_redocly_finds_nothing(node_folder: Path, file: Path) -> None:
    """Redocly's linter has no finding in a document."""
    linter: Path = node_folder / "node_modules/.bin/redocly"
    config = ROOT / "tests/foreign/redocly.yaml"
    command: list[str | Path] = [linter, "lint", "--config", config, "--format", "json", file]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=node_folder)

    assert done.stdout, done.stderr
    assert json.loads(done.stdout)["problems"] == []


@pytest.mark.parametrize("document", DOCUMENTS.values(), ids=DOCUMENTS)
def test_every_reference_resolves(document: dict[str, Any]) -> None:
    """Each `$ref` names a component of the same document."""
    references = {value for key, value in leaves_of(document) if key == "$ref"}

    assert references <= {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    assert references


def leaves_of(value: object) -> Iterator[tuple[str, object]]:
    """Yield the names and values of all objects in a JSON value."""
    if isinstance(value, dict):
        for key, each in value.items():
            yield key, each
            yield from leaves_of(each)
    elif isinstance(value, list):
        for each in value:
            yield from leaves_of(each)


def test_the_document_has_every_method() -> None:
    """The document has one operation for each method of our contracts."""
    names = {f"/{service.full_name}/{method.name}" for service in our_services() for method in service.methods}

    assert set(OPERATIONS) == names


@pytest.mark.parametrize("path", OPERATIONS)
def test_an_example_request_is_valid(schemas: Schemas, path: str) -> None:
    """The example request of each operation is valid for protovalidate and for its own schema."""
    body = body_of(OPERATIONS[path]["requestBody"])
    request_type = find_method(path).request_type

    assert name_of(body["schema"]) == request_type.DESCRIPTOR.full_name
    assert violations_of(json_format.ParseDict(body["example"], request_type())) == []
    assert schemas.problems(request_type.DESCRIPTOR.full_name, body["example"]) == []


async def test_an_answer_of_a_service_matches_its_schema(schemas: Schemas, serve: Serve) -> None:
    """The answers of a real service, as JSON, match the schemas of the responses."""
    mesh = await serve(SERVICE)
    gyms = mesh.stub(GymServiceStub)
    example = body_of(OPERATIONS["/solo60.gym.v1.GymService/CreateGym"]["requestBody"])["example"]

    created = await gyms.CreateGym(json_format.ParseDict(example, CreateGymRequest()))
    listed = await gyms.ListGyms(ListGymsRequest(page_size=1))

    for response in (created, listed):
        written = json_format.MessageToDict(response)
        assert written
        assert schemas.problems(response.DESCRIPTOR.full_name, written) == []


def test_an_operation_shows_the_policy() -> None:
    """An operation has the policy as JSON with defaults, as a table, its scopes, and the header of its keys."""
    operation = OPERATIONS["/solo60.session.v1.SessionService/BookSession"]
    policy = operation["x-solo60-policy"]

    assert policy["deadline"] == "10s"
    assert policy["retry"]["initial_backoff"] == "0.05s"
    assert policy["retry"]["codes"] == ["UNAVAILABLE"]
    assert policy["criticality"] == "CRITICALITY_CRITICAL"
    assert operation["security"] == [{"apiKey": ["session.write"]}]
    assert [each["name"] for each in operation["parameters"]] == ["idempotency-key"]
    assert "| deadline | 10 s |" in operation["description"]
    assert "`solo60.payment.v1.PaymentService/ChargeSession`" in operation["description"]
    assert "| called later by |" not in operation["description"]


def test_an_operation_lists_its_errors() -> None:
    """The default response is an error of the Connect protocol, and lists the declared reasons with their codes."""
    default = OPERATIONS["/solo60.gym.v1.GymService/GetGym"]["responses"]["default"]

    assert name_of(body_of(default)["schema"]) == "connect.error"
    assert "| `GYM_NOT_FOUND` | NOT_FOUND | There is no gym with this id. |" in default["description"]


@pytest.mark.parametrize(
    ("method", "kind"),
    [("Echo", None), ("EchoMany", "server"), ("EchoJoined", "client"), ("EchoEach", "bidirectional")],
)
def test_a_stream_is_marked(method: str, kind: str | None) -> None:
    """A streaming method has `x-streaming`, and the content type of Connect's envelopes: it is no plain JSON."""
    operation = OPERATIONS[f"/solo60.example.v1.EchoService/{method}"]
    media_type = "application/json" if kind is None else "application/connect+json"

    assert operation.get("x-streaming") == kind
    assert list(operation["requestBody"]["content"]) == [media_type]
    assert ("streaming:" in operation["description"]) is (kind is not None)


def test_a_field_with_personal_data_is_marked() -> None:
    """The description of a `pii` field states that its value is personal data."""
    email = DOCUMENTS["solo60"]["components"]["schemas"]["solo60.user.v1.User"]["properties"]["email"]

    assert "Personal data" in email["description"]


async def test_every_pattern_is_valid_in_javascript(node_folder: Path) -> None:
    """Each pattern compiles in JavaScript with the flag `u`, as JSON Schema recommends."""
    patterns = sorted({str(value) for key, value in leaves_of(DOCUMENTS["solo60"]) if key == "pattern"})
    program = "for (const each of JSON.parse(process.argv[1])) new RegExp(each, 'u')"
    process = await asyncio.create_subprocess_exec("node", "-e", program, json.dumps(patterns), cwd=node_folder)

    assert await process.wait() == 0
    assert patterns
