"""protoc-gen-contract-docs: an OpenAPI document and a Markdown file for each service, as a plugin for buf.

Reads a CodeGeneratorRequest from standard input and writes a CodeGeneratorResponse to standard output. Options:

    api_key=WORD    shell word for the API key in commands, such as $(cat .data/keys/operator); default: $API_KEY
    address=WORD    host and port of services without a default port; default: $ADDRESS
    texts=PATH      a file for all comments and example requests as JSON, such as solo60/texts.json; default: no file
"""

from __future__ import annotations

import sys

from google.protobuf.compiler.plugin_pb2 import CodeGeneratorRequest, CodeGeneratorResponse
from google.protobuf.descriptor_pb2 import Edition, FileDescriptorSet

from contracts.documents.catalog import Catalog
from contracts.documents.commands import Commands, ShellWords
from contracts.documents.markdown import ServiceDocument
from contracts.documents.openapi import OpenApi
from contracts.documents.texts_file import texts_of
from contracts.image import Image

OPTIONS = ("api_key", "address", "texts")


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
        options = _options(request.parameter)
    except OptionError as error:
        response.error = str(error)
        return response
    catalog = Catalog(Image(FileDescriptorSet(file=request.proto_file), request.file_to_generate))
    texts = options.pop("texts", "")
    commands = Commands(catalog, ShellWords(**options))
    if catalog.services:
        response.file.add(name="docs/openapi.json", content=OpenApi(catalog, commands).text())
    for service in catalog.services:
        text = ServiceDocument(catalog, service, commands).text()
        response.file.add(name=f"docs/{service.document}.md", content=text)
    if texts and catalog.services:
        response.file.add(name=texts, content=texts_of(catalog, commands))
    return response


def _options(parameter: str) -> dict[str, str]:
    options: dict[str, str] = {}
    for each in filter(None, parameter.split(",")):
        name, _, value = each.partition("=")
        if name not in OPTIONS or not value:
            raise OptionError(f'opt: "{each}" must have the form {" or ".join(f"{name}=WORD" for name in OPTIONS)}.')
        options[name] = value
    return options


if __name__ == "__main__":
    sys.stdout.buffer.write(generate(CodeGeneratorRequest.FromString(sys.stdin.buffer.read())).SerializeToString())
