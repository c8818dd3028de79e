"""protoc-gen-contract-docs: an OpenAPI document and a Markdown file for each service, as a plugin for buf.

Reads a CodeGeneratorRequest from standard input and writes a CodeGeneratorResponse to standard output. Options:

    api_key=WORD    shell word for the API key in commands, such as $(cat .data/keys/operator); default: $API_KEY
    address=WORD    host and port of services without a default port; default: $ADDRESS
"""

from __future__ import annotations

import sys

from google.protobuf.compiler.plugin_pb2 import CodeGeneratorRequest, CodeGeneratorResponse
from google.protobuf.descriptor_pb2 import Edition, FileDescriptorSet

from contracts.documents.catalog import Catalog
from contracts.documents.commands import Commands, ShellWords
from contracts.documents.markdown import ServiceDocument
from contracts.documents.openapi import OpenApi
from contracts.image import Image

OPTIONS = ("api_key", "address")


class OptionError(Exception):
    """Invalid option of the plugin; the message names it."""


def generate(request: CodeGeneratorRequest) -> CodeGeneratorResponse:
    """Return docs/openapi.json and docs/<service>.md, or no files if the request has no services."""
    response = CodeGeneratorResponse(
        supported_features=CodeGeneratorResponse.FEATURE_PROTO3_OPTIONAL
        | CodeGeneratorResponse.FEATURE_SUPPORTS_EDITIONS,
        minimum_edition=Edition.EDITION_PROTO2,
        maximum_edition=Edition.EDITION_2023,
    )
    try:
        words = _shell_words(request.parameter)
    except OptionError as error:
        response.error = str(error)
        return response
    catalog = Catalog(Image(FileDescriptorSet(file=request.proto_file), request.file_to_generate))
    commands = Commands(catalog, words)
    if catalog.services:
        response.file.add(name="docs/openapi.json", content=OpenApi(catalog, commands).text())
    for service in catalog.services:
        text = ServiceDocument(catalog, service, commands).text()
        response.file.add(name=f"docs/{service.document}.md", content=text)
    return response


def _shell_words(parameter: str) -> ShellWords:
    options: dict[str, str] = {}
    for each in filter(None, parameter.split(",")):
        name, _, value = each.partition("=")
        if name not in OPTIONS or not value:
            raise OptionError(f'opt: "{each}" must have the form {" or ".join(f"{name}=WORD" for name in OPTIONS)}.')
        options[name] = value
    return ShellWords(**options)


if __name__ == "__main__":
    sys.stdout.buffer.write(generate(CodeGeneratorRequest.FromString(sys.stdin.buffer.read())).SerializeToString())
