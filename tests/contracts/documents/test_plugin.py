from __future__ import annotations

import json
import subprocess
import sys

import pytest
from google.protobuf.compiler.plugin_pb2 import CodeGeneratorRequest, CodeGeneratorResponse

from contracts.codegen.protoc_gen_contract_docs import generate
from tests.contracts.documents.compiled import catalog_of_ours, image_of_ours

OURS = [file.name for file in image_of_ours().file if file.name.startswith("solo60/")]


def request(*names: str, parameter: str = "") -> CodeGeneratorRequest:
    """Return the request for some of our contracts."""
    return CodeGeneratorRequest(file_to_generate=names, proto_file=image_of_ours().file, parameter=parameter)


def test_the_plugin_writes_the_same_bytes_each_time() -> None:
    """Two processes with different hash seeds write the same documents."""
    command = [sys.executable, "-m", "contracts.codegen.protoc_gen_contract_docs"]
    data = request(*OURS).SerializeToString()
    first, second = (
        subprocess.run(command, input=data, env={"PYTHONHASHSEED": seed}, capture_output=True, check=True).stdout
        for seed in ("1", "2")
    )

    assert first == second
    names = [file.name for file in CodeGeneratorResponse.FromString(first).file]
    assert names == ["docs/openapi.json", *(f"docs/{service.document}.md" for service in catalog_of_ours().services)]


def test_the_plugin_needs_no_generated_code() -> None:
    """The plugin reads nothing but the request, so outdated or missing generated code does not stop it."""
    program = (
        "import sys, contracts.codegen.protoc_gen_contract_docs;"
        "print([name for name in sys.modules if name.split('.')[0] in ('solo60', 'buf')])"
    )

    assert subprocess.run([sys.executable, "-c", program], capture_output=True, check=True).stdout == b"[]\n"


def test_contracts_without_services_have_no_documents() -> None:
    """A request without services gets a response without files."""
    assert not generate(request("solo60/common/v1/money.proto")).file


def test_options_appear_in_commands() -> None:
    """The options `api_key` and `address` are the words for key and address in commands."""
    files = generate(request("solo60/mesh/v1/outbox.proto", parameter="api_key=$(cat k),address=host:1")).file
    [text] = [file.content for file in files if file.name == "docs/mesh.md"]

    assert '-H "x-api-key: $(cat k)"' in text
    assert "http://host:1/solo60.mesh.v1.OutboxService/ListMessages" in text


def test_texts_of_contracts_are_written_on_request() -> None:
    """The option `texts` adds a file with comments by full name, and with an example of each request."""
    files = generate(request(*OURS, parameter="texts=solo60/texts.json")).file
    [texts] = [json.loads(file.content) for file in files if file.name == "solo60/texts.json"]

    assert texts["comments"]["solo60.gym.v1.GymService.GetGym"].startswith("Returns one gym")
    assert texts["comments"]["solo60.common.v1.ErrorReason.ERROR_REASON_GYM_CLOSED"]
    assert "gym_id" in texts["examples"]["solo60.gym.v1.GetGymRequest"]
    assert not generate(request("solo60/common/v1/money.proto", parameter="texts=texts.json")).file


@pytest.mark.parametrize("parameter", ["key=1", "api_key", "api_key="])
def test_an_unknown_option_is_refused(parameter: str) -> None:
    """An unknown option, or one without a value, is an error that names it."""
    response = generate(request(*OURS, parameter=parameter))

    assert response.error.startswith(f'opt: "{parameter}" must have the form api_key=WORD')
    assert not response.file
