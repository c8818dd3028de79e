"""protoc-gen-grpc-python: the generator of grpcio-tools as a plugin for buf.

Reads a CodeGeneratorRequest from standard input and writes a CodeGeneratorResponse to standard output.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from google.protobuf.compiler.plugin_pb2 import CodeGeneratorRequest, CodeGeneratorResponse
from google.protobuf.descriptor_pb2 import Edition, FileDescriptorSet
from grpc_tools import protoc


def generate(request: CodeGeneratorRequest) -> CodeGeneratorResponse:
    """Return the `*_pb2_grpc.py` of each file to generate, or the generator's exit code as an error."""
    response = CodeGeneratorResponse(
        supported_features=CodeGeneratorResponse.FEATURE_PROTO3_OPTIONAL
        | CodeGeneratorResponse.FEATURE_SUPPORTS_EDITIONS,
        minimum_edition=Edition.EDITION_PROTO2,
        maximum_edition=Edition.EDITION_2023,
    )
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "out")
        out.mkdir()
        descriptors = Path(folder, "in.binpb")
        descriptors.write_bytes(FileDescriptorSet(file=request.proto_file).SerializeToString())
        arguments = [f"--descriptor_set_in={descriptors}", f"--grpc_python_out={out}", *request.file_to_generate]
        exit_code = protoc.main(["protoc", *arguments])
        if exit_code:
            response.error = f"grpc_tools.protoc exited with code {exit_code}."
        for path in sorted(out.rglob("*.py")):
            response.file.add(name=path.relative_to(out).as_posix(), content=path.read_text(encoding="utf-8"))
    return response


if __name__ == "__main__":
    request = CodeGeneratorRequest.FromString(sys.stdin.buffer.read())
    sys.stdout.buffer.write(generate(request).SerializeToString())
