"""Server reflection in grpc.reflection.v1 and v1alpha, so that grpcurl and `buf curl` need no local contract.

grpcio-reflection serves only v1alpha, which new tools try last, and does not find methods by name. The two versions
differ only in the name of their package.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
from google.protobuf import descriptor_pool
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_reflection.v1alpha import reflection_pb2 as v1alpha_pb2

from contracts.method import find_method

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from google.protobuf.descriptor import FileDescriptor

    Request = v1alpha_pb2.ServerReflectionRequest
    Response = v1alpha_pb2.ServerReflectionResponse

_POOL = descriptor_pool.Default()
_METHOD = "ServerReflectionInfo"


def _v1() -> FileDescriptor:
    """Return the descriptor of v1, derived from that of v1alpha."""
    file = FileDescriptorProto()
    v1alpha_pb2.DESCRIPTOR.CopyToProto(file)
    file.name, old, file.package = "grpc/reflection/v1/reflection.proto", file.package, "grpc.reflection.v1"
    for field in (field for message in file.message_type for field in message.field if field.type_name):
        field.type_name = field.type_name.replace(f".{old}.", f".{file.package}.")
    for method in file.service[0].method:
        method.input_type = method.input_type.replace(f".{old}.", f".{file.package}.")
        method.output_type = method.output_type.replace(f".{old}.", f".{file.package}.")
    _POOL.AddSerializedFile(file.SerializeToString())
    return _POOL.FindFileByName(file.name)


REFLECTION_SERVICES = tuple(
    file.services_by_name["ServerReflection"].full_name for file in (_v1(), v1alpha_pb2.DESCRIPTOR)
)


def add_reflection_to_server(services: Iterable[str], server: grpc.aio.Server) -> None:
    """Serve both versions of reflection; they list `services` (full names) and themselves."""
    names = sorted({*services, *REFLECTION_SERVICES})
    for service in REFLECTION_SERVICES:
        method = find_method(f"/{service}/{_METHOD}")
        handler = grpc.stream_stream_rpc_method_handler(
            _Reflection(names, method.response_type).answer_each,
            method.request_type.FromString,
            method.response_type.SerializeToString,
        )
        handlers = {_METHOD: handler}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
        server.add_registered_method_handlers(service, handlers)


class _Reflection:
    """Servicer of one reflection version, with that version's type of response."""

    def __init__(self, services: Iterable[str], response_type: type[Any]) -> None:
        self._services = tuple(services)
        self._response_type = response_type

    async def answer_each(self, requests: AsyncIterator[Request], _context: object) -> AsyncIterator[Response]:
        """Yield a response to each request; an unknown name gets an error response and does not end the stream."""
        async for request in requests:
            response: Response = self._response_type(valid_host=request.host, original_request=request)
            asked = request.WhichOneof("message_request")
            try:
                self._fill(response, asked, request)
            except KeyError:
                _set_error(response, grpc.StatusCode.NOT_FOUND, "No symbol or file has that name.")
            yield response

    def _fill(self, response: Response, asked: str | None, request: Request) -> None:
        match asked:
            case "list_services":
                for name in self._services:
                    response.list_services_response.service.add(name=name)
            case "file_by_filename":
                _add_files(response, _POOL.FindFileByName(request.file_by_filename))
            case "file_containing_symbol":
                _add_files(response, file_of(request.file_containing_symbol))
            case "file_containing_extension":
                wanted = request.file_containing_extension
                extended = _POOL.FindMessageTypeByName(wanted.containing_type)
                extension = _POOL.FindExtensionByNumber(extended, wanted.extension_number)
                _add_files(response, _POOL.FindFileContainingSymbol(extension.full_name))
            case "all_extension_numbers_of_type":
                extended = _POOL.FindMessageTypeByName(request.all_extension_numbers_of_type)
                numbers = sorted(extension.number for extension in _POOL.FindAllExtensions(extended))
                response.all_extension_numbers_response.base_type_name = extended.full_name
                response.all_extension_numbers_response.extension_number.extend(numbers)
            case _:
                _set_error(response, grpc.StatusCode.INVALID_ARGUMENT, "The request is empty.")


def file_of(symbol: str) -> FileDescriptor:
    """Return the file that declares a symbol, including methods and fields; raise KeyError for an unknown symbol."""
    try:
        return _POOL.FindFileContainingSymbol(symbol)
    except KeyError:
        return _file_of_member(symbol)


def _file_of_member(symbol: str) -> FileDescriptor:
    owner_name, _, name = symbol.rpartition(".")
    try:
        service = _POOL.FindServiceByName(owner_name)
    except KeyError:
        message = _POOL.FindMessageTypeByName(owner_name)
        if name in message.fields_by_name or name in message.oneofs_by_name:
            return message.file
        raise
    return service.methods_by_name[name].containing_service.file


def _set_error(response: Response, code: grpc.StatusCode, sentence: str) -> None:
    response.error_response.error_code = code.value[0]
    response.error_response.error_message = sentence


def _add_files(response: Response, file: FileDescriptor) -> None:
    """Add a file and all of its transitive imports, each once."""
    found: dict[str, FileDescriptor] = {}
    waiting = [file]
    while waiting:
        each = waiting.pop()
        if each.name not in found:
            found[each.name] = each
            waiting.extend(each.dependencies)
    for each in found.values():
        response.file_descriptor_response.file_descriptor_proto.append(each.serialized_pb)
