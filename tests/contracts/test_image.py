from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import grpc_tools
import pytest
from google.protobuf.descriptor_pb2 import EDITION_2023, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet

from contracts.checks.run import check
from contracts.image import Image, ImageError
from solo60.mesh.v1 import policy_pb2

if TYPE_CHECKING:
    from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor

ROOT = Path(__file__).parents[2]
POLICY = policy_pb2.POLICY_FIELD_NUMBER
SESSION = "solo60/session/v1/session.proto"


@pytest.fixture(scope="module")
def data() -> bytes:
    """Compile our contracts."""
    command = ["buf", "build", "--as-file-descriptor-set", "--output", "-"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout


@pytest.fixture(scope="module")
def image(data: bytes) -> Image:
    """Read the compiled contracts of `proto/`, with their sources."""
    files = FileDescriptorSet.FromString(data)
    sources = {file.name: ROOT / "proto" / file.name for file in files.file if file.name.startswith("solo60/")}
    return Image(files, set(sources), sources)


def line_of(image: Image, element: Descriptor | FieldDescriptor | MethodDescriptor, *option: int | str) -> str:
    """Return the text of the line that the image gives for a declaration."""
    location = image.location_of(element, *option)
    return (ROOT / "proto" / location.file).read_text().splitlines()[location.line - 1].strip()


def test_every_declaration_has_the_line_of_its_name(image: Image) -> None:
    """The location of each message, field and method is the line with its name."""
    for message in image.messages():
        assert f"message {message.name} {{" in line_of(image, message)
        for field in message.fields:
            assert f" {field.name} = {field.number}" in line_of(image, field)
    for method in image.methods.values():
        assert f"rpc {method.name}(" in line_of(image, method)


def test_an_option_has_its_own_line(image: Image) -> None:
    """The location of an option is its line, and that of a value inside of it is the line of the value."""
    method = image.methods["solo60.session.v1.SessionService/BookSession"]

    assert line_of(image, method, POLICY) == "option (solo60.mesh.v1.policy) = {"
    assert line_of(image, method, POLICY, "calls") == "calls: ["
    assert line_of(image, method, POLICY, "errors", "ERROR_REASON_PERIOD_PAST") == "ERROR_REASON_PERIOD_PAST,"


def test_without_sources_an_option_has_its_first_line(data: bytes, image: Image) -> None:
    """Without the source, the location of a value inside of an option is the option's first line."""
    without = Image.parse(data)
    name = "solo60.session.v1.SessionService/BookSession"

    expected = image.location_of(image.methods[name], POLICY)
    assert without.location_of(without.methods[name], POLICY, "calls") == expected


def test_an_undeclared_option_has_the_line_of_its_declaration(image: Image) -> None:
    """The location of an option that is not declared is that of the element."""
    method = image.methods["solo60.session.v1.SessionService/BookSession"]

    assert image.location_of(method, POLICY + 1) == image.location_of(method)


@pytest.mark.parametrize("data", [b"not an image", b""])
def test_an_unreadable_image_is_reported(data: bytes) -> None:
    """Bytes that are no image, and an image without files, raise ImageError."""
    with pytest.raises(ImageError):
        Image.parse(data)


def test_an_image_without_its_imports_is_reported(data: bytes) -> None:
    """An image that lacks an imported file raises ImageError with the name of the file that imports it."""
    files = FileDescriptorSet.FromString(data)
    alone = FileDescriptorSet(file=[file for file in files.file if file.name == SESSION])

    with pytest.raises(ImageError, match=SESSION):
        Image.parse(alone.SerializeToString())


def test_imports_of_an_image_are_not_examined() -> None:
    """Files that buf marks as imports are not examined, nor those of Google and buf beside others."""
    data = subprocess.run(["buf", "build", "--output", "-"], cwd=ROOT, capture_output=True, check=True).stdout

    assert {file.name.partition("/")[0] for file in Image.parse(data).files} == {"solo60"}
    foreign = [file for file in FileDescriptorSet.FromString(data).file if file.name.startswith("google/")]
    alone = Image.parse(FileDescriptorSet(file=foreign).SerializeToString())
    assert {file.package for file in alone.files} == {"google.rpc"}


def test_files_may_be_in_any_order(data: bytes, image: Image) -> None:
    """An image may list a file before its imports."""
    files = FileDescriptorSet.FromString(data)
    turned = FileDescriptorSet(file=reversed(files.file))

    assert set(Image.parse(turned.SerializeToString()).methods) == set(image.methods)


@pytest.mark.parametrize("syntax", ["proto2", "editions"])
def test_other_syntaxes_are_read(syntax: str) -> None:
    """Images of proto2 with groups, and of editions, are read."""
    file = FileDescriptorProto(name="old.proto", package="acme.old.v1", syntax=syntax)
    if syntax == "editions":
        file.edition = EDITION_2023
    message = file.message_type.add(name="Old")
    message.nested_type.add(name="Part")
    kind = FieldDescriptorProto.TYPE_GROUP if syntax == "proto2" else FieldDescriptorProto.TYPE_MESSAGE
    message.field.add(
        name="part", number=1, label=FieldDescriptorProto.LABEL_OPTIONAL, type=kind, type_name=".acme.old.v1.Old.Part"
    )

    image = Image.parse(FileDescriptorSet(file=[file]).SerializeToString())

    assert [message.name for message in image.messages()] == ["Old", "Part"]
    assert check(image) == []


def test_an_option_in_parts_has_the_line_of_its_part(tmp_path: Path) -> None:
    """The parts of an option may be separate statements; each has its own line. Comments are no declarations."""
    lines = ['syntax = "proto3";', "package acme.v1;", 'import "solo60/mesh/v1/policy.proto";', "message M {}"]
    lines += ["service S {", "rpc Do(M) returns (M) {", "option (solo60.mesh.v1.policy).deadline = {seconds: 1};"]
    lines += ["option (solo60.mesh.v1.policy).scopes = 'a.b';", "option (solo60.mesh.v1.policy).retry = {"]
    lines += ["// No other codes:", "codes: UNAVAILABLE", "};", "}", "}"]
    source = tmp_path / "acme.proto"
    source.write_text("\n".join(lines))
    includes = [f"-I{folder}" for folder in (tmp_path, ROOT / "proto", ROOT / "third_party/protovalidate")]
    includes += [f"-I{ROOT / 'third_party/googleapis'}", f"-I{Path(grpc_tools.__file__).parent / '_proto'}"]
    options = ["--include_imports", "--include_source_info", f"-o{tmp_path / 'image'}"]
    subprocess.run([sys.executable, "-m", "grpc_tools.protoc", *includes, *options, source], check=True)
    files = FileDescriptorSet.FromString((tmp_path / "image").read_bytes())
    image = Image(files, {source.name}, {source.name: source})

    method = image.methods["acme.v1.S/Do"]

    assert image.location_of(method, POLICY, "deadline").line == 7
    assert image.location_of(method, POLICY, "scopes", "a.b").line == 8
    assert image.location_of(method, POLICY, "retry", "codes").line == 11
