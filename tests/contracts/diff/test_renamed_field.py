"""First release of a renamed field: EchoResponse.caller becomes `key_owner` (docs/contract-changes.md)."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

from contracts.diff import Severity, changes_between
from contracts.image import Image
from solo60.example.v1 import echo_pb2
from tests.support.echo import EchoServicer
from tests.support.images import set_with_imports

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from tests.support.echo_server import EchoServer, ServeEcho

PATH = "/solo60.example.v1.EchoService/Echo"
HI = echo_pb2.EchoRequest(text="hi")


def this_release() -> FileDescriptorSet:
    """Return the echo service's contracts and their imports."""
    return set_with_imports([FileDescriptorProto.FromString(echo_pb2.DESCRIPTOR.serialized_pb)])


@cache
def previous_release() -> FileDescriptorSet:
    """Return the echo service's contracts before the new field, when the old one was not deprecated."""
    files = this_release()
    [response] = [message for message in files.file[-1].message_type if message.name == "EchoResponse"]
    [new] = [field for field in response.field if field.name == "key_owner"]
    response.field.remove(new)
    [old] = [field for field in response.field if field.name == "caller"]
    old.options.ClearField("deprecated")
    return files


def old_response_type() -> type[Message]:
    """Return the response class that the previous release generated."""
    pool = DescriptorPool()
    for file in previous_release().file:
        pool.AddSerializedFile(file.SerializeToString())
    return GetMessageClass(pool.FindMessageTypeByName("solo60.example.v1.EchoResponse"))


class PreviousServicer(EchoServicer):
    """Echo servicer of the previous release, which does not know `key_owner`."""

    async def Echo(self, request: echo_pb2.EchoRequest, context: Any) -> echo_pb2.EchoResponse:
        answer = await super().Echo(request, context)
        old: Any = old_response_type()(text=answer.text, caller=answer.caller)
        return echo_pb2.EchoResponse.FromString(old.SerializeToString())


def caller_in(answer: echo_pb2.EchoResponse) -> str:
    """Return the caller's name, as clients of the first release read it."""
    return answer.key_owner or answer.caller


async def test_a_client_of_the_previous_release_reads_the_old_field(echo: EchoServer) -> None:
    """The server fills both fields, so a client with the previous release's contracts finds the old one."""
    response_type: Any = old_response_type()
    call: Any = echo.channel().unary_unary(PATH, echo_pb2.EchoRequest.SerializeToString, response_type.FromString)

    answer = await call(HI)

    assert "key_owner" not in answer.DESCRIPTOR.fields_by_name
    assert answer.caller == "tester"


async def test_a_new_client_reads_either_field(serve_echo: ServeEcho) -> None:
    """A client of this release gets the caller's name from its own server and from one of the previous release."""
    this, previous = await serve_echo(), await serve_echo(PreviousServicer())

    answers = [await server.stub().Echo(HI) for server in (this, previous)]

    assert [answer.key_owner for answer in answers] == ["tester", ""]
    assert [caller_in(answer) for answer in answers] == ["tester", "tester"]


def test_the_first_release_breaks_nobody() -> None:
    """The diff between the two releases has no breaking change, and names the deprecated field."""
    changes = changes_between(Image(previous_release()), Image(this_release()))

    assert [(change.severity, change.id) for change in changes] == [(Severity.RISKY, "FIELD_DEPRECATED")]
    assert changes[0].subject == "solo60.example.v1.EchoResponse.caller"
