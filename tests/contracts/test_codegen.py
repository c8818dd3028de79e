from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

from google.protobuf import descriptor_pb2
from google.protobuf.compiler.plugin_pb2 import CodeGeneratorRequest

from contracts.codegen.export_validate_proto import validate_file, write_validate_proto
from contracts.codegen.protoc_gen_grpc_python import generate

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_validate_proto_is_rebuilt_without_loss(tmp_path: Path) -> None:
    """The validate.proto that we print from its descriptor compiles to an equal descriptor."""
    write_validate_proto(tmp_path)
    compiled = tmp_path / "compiled.binpb"
    arguments = [f"-I{tmp_path}", f"--descriptor_set_out={compiled}", "buf/validate/validate.proto"]
    subprocess.run([sys.executable, "-m", "grpc_tools.protoc", *arguments], check=True)

    [file] = descriptor_pb2.FileDescriptorSet.FromString(compiled.read_bytes()).file

    assert file == _without_source_info(validate_file())


def test_the_plugin_generates_stubs_with_grpcio_tools() -> None:
    """The buf plugin returns the stubs that grpcio's own generator writes."""
    file = descriptor_pb2.FileDescriptorProto(name="a/b.proto", package="a", syntax="proto3")
    file.message_type.add(name="M")
    file.service.add(name="S").method.add(name="Do", input_type=".a.M", output_type=".a.M")

    response = generate(CodeGeneratorRequest(file_to_generate=[file.name], proto_file=[file]))

    assert not response.error
    [generated] = response.file
    assert generated.name == "a/b_pb2_grpc.py"
    assert "class SServicer:" in generated.content


def test_the_plugin_reports_a_failing_generator(capfd: pytest.CaptureFixture[str]) -> None:
    """If the generator fails, the plugin reports an error to buf and prints the generator's message."""
    response = generate(CodeGeneratorRequest(file_to_generate=["missing.proto"]))

    assert response.error == "grpc_tools.protoc exited with code 1."
    assert "missing.proto" in capfd.readouterr().err


def _without_source_info(file: descriptor_pb2.FileDescriptorProto) -> descriptor_pb2.FileDescriptorProto:
    file.ClearField("source_code_info")
    return file
