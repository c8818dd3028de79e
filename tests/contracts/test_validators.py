from __future__ import annotations

from typing import TYPE_CHECKING, Any

from google.protobuf.message_factory import GetMessageClass

from buf.validate import validate_pb2
from contracts.broken_fields import broken_fields
from contracts.violations import violations_of
from solo60.example.v1 import echo_pb2
from tests.contracts.testing.earlier_echo import field_in, release

if TYPE_CHECKING:
    from google.protobuf.descriptor_pb2 import FileDescriptorProto
    from google.protobuf.message import Message


def request_type(max_len: int) -> type[Message]:
    """Return a version of EchoRequest whose text has at most `max_len` characters."""

    def edit(file: FileDescriptorProto) -> None:
        field_in(file, "EchoRequest", "text").options.Extensions[validate_pb2.field].string.max_len = max_len

    method = release(edit).method("/solo60.example.v1.EchoService/Echo")
    return method.request_type


def test_two_versions_of_a_type_have_their_own_rules() -> None:
    """The versions share a name, and each is checked by its own rules, in any order of the checks."""
    versions: list[Any] = [echo_pb2.EchoRequest, request_type(1), request_type(2)]

    for _ in range(2):
        broken = [[len(violations_of(version(text=text))) for text in ("a", "ab", "abc")] for version in versions]
        assert broken == [[0, 0, 0], [0, 1, 1], [0, 0, 1]]

    assert [broken_fields(version(text="ab")) for version in versions] == [[], ["text"], []]


def test_generated_code_keeps_its_rules_beside_many_other_versions() -> None:
    """More versions than are remembered do not mix their rules, and types are the same class each time."""
    for length in range(1, 8):
        version: Any = request_type(length)
        texts = ["a" * length, "a" * (length + 1)]
        assert [len(violations_of(version(text=text))) for text in texts] == [0, 1]
        assert GetMessageClass(version.DESCRIPTOR) is version
    assert violations_of(echo_pb2.EchoRequest(text="a" * 9)) == []
