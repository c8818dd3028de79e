from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto

from contracts.method import find_method
from mesh.serving.reflection import REFLECTION_SERVICES
from tests.support.echo_server import serve_echo

if TYPE_CHECKING:
    from tests.support.echo_server import EchoServer, ServeEcho

__all__ = ["serve_echo"]

BUF = Path(sys.executable).with_name("buf")
ECHO = "solo60.example.v1.EchoService"
ECHO_FILE = "solo60/example/v1/echo.proto"
both_versions = pytest.mark.parametrize("version", REFLECTION_SERVICES)


async def query_reflection(echo: EchoServer, version: str, **request: Any) -> Any:
    """Send one reflection request and return the answer."""
    method = find_method(f"/{version}/ServerReflectionInfo")
    call: Any = echo.bare_channel().stream_stream(
        method.path, method.request_type.SerializeToString, method.response_type.FromString
    )
    [answer] = [each async for each in call(iter([method.request_type(host="gym", **request)]))]
    assert (answer.valid_host, answer.original_request) == ("gym", method.request_type(host="gym", **request))
    return answer


def files(answer: Any) -> list[str]:
    """Return the names of the files in an answer, the requested file first."""
    found = answer.file_descriptor_response.file_descriptor_proto
    return [FileDescriptorProto.FromString(each).name for each in found]


@pytest.fixture
async def open_echo(serve_echo: ServeEcho) -> EchoServer:
    """Start an echo server with open reflection."""
    return await serve_echo(reflection_open=True)


@both_versions
@pytest.mark.parametrize(
    "symbol",
    [
        ECHO,
        f"{ECHO}.EchoMany",
        "solo60.example.v1.EchoRequest",
        "solo60.example.v1.EchoRequest.text",
    ],
)
async def test_every_symbol_of_a_contract_is_found(open_echo: EchoServer, version: str, symbol: str) -> None:
    """Reflection finds every symbol of a contract, also methods, and sends the imported files along."""
    answer = await query_reflection(open_echo, version, file_containing_symbol=symbol)

    assert files(answer)[0] == ECHO_FILE
    assert "solo60/mesh/v1/policy.proto" in files(answer)


@both_versions
async def test_files_and_extensions_are_found(open_echo: EchoServer, version: str) -> None:
    """Reflection finds a file by its name and a method option by its extension number."""
    options = "google.protobuf.MethodOptions"
    extension = {"containing_type": options, "extension_number": 60060}

    assert files(await query_reflection(open_echo, version, file_by_filename=ECHO_FILE))[0] == ECHO_FILE
    found = await query_reflection(open_echo, version, file_containing_extension=extension)
    assert files(found)[0] == "solo60/mesh/v1/policy.proto"
    numbers = (
        await query_reflection(open_echo, version, all_extension_numbers_of_type=options)
    ).all_extension_numbers_response
    assert numbers.base_type_name == options
    assert 60060 in numbers.extension_number


@both_versions
@pytest.mark.parametrize(
    "request_",
    [
        {"file_by_filename": "nothing.proto"},
        {"file_containing_symbol": f"{ECHO}.Nothing"},
        {"file_containing_symbol": "nothing"},
        {"file_containing_symbol": ""},
        {"file_containing_extension": {"containing_type": "nothing", "extension_number": 1}},
        {"file_containing_extension": {"containing_type": "google.protobuf.MethodOptions", "extension_number": 1}},
        {"all_extension_numbers_of_type": "nothing"},
        {},
    ],
)
async def test_an_unknown_name_gets_an_error_response(
    open_echo: EchoServer, version: str, request_: dict[str, Any]
) -> None:
    """An unknown name is answered with NOT_FOUND and an empty request with INVALID_ARGUMENT, within the stream."""
    answer = await query_reflection(open_echo, version, **request_)

    assert answer.error_response.error_code == (5 if request_ else 3)
    assert answer.error_response.error_message


@both_versions
async def test_both_versions_list_the_same(open_echo: EchoServer, version: str) -> None:
    """Both versions of reflection list the same services, including both versions themselves."""
    listed = (await query_reflection(open_echo, version, list_services="")).list_services_response.service

    assert [each.name for each in listed] == ["grpc.health.v1.Health", *REFLECTION_SERVICES]


@pytest.mark.parametrize("engine", ["grpcio", "native"])
async def test_buf_curl_works_with_reflection(serve_echo: ServeEcho, engine: str) -> None:
    """`buf curl` calls a method through reflection v1, on both engines."""
    echo = await serve_echo(reflection_open=True, engine=engine)
    process = await asyncio.create_subprocess_exec(
        BUF,
        *("curl", "--http2-prior-knowledge", "--protocol", "grpc", "--reflect-protocol", "grpc-v1"),
        *("-H", f"x-api-key: {echo.key}", "-d", '{"text": "hi"}', f"http://{echo.address}/{ECHO}/Echo"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    printed, errors = await process.communicate()

    assert (process.returncode, errors) == (0, b"")
    assert b'"text": "hi"' in printed or b'"text":"hi"' in printed
