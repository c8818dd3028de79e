"""Commands that call a method with its example request: buf curl, grpcurl, solo60 call, and Python."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

from google.protobuf import json_format
from google.protobuf.message_factory import GetMessageClass

from contracts.documents.call_commands import CallWords, buf_curl, grpcurl, solo60_call
from contracts.documents.catalog import POLICY, Catalog
from contracts.documents.python_example import BareChannel, python_call
from contracts.example_messages import example_of
from contracts.image import name_of
from contracts.metadata import API_KEY, IDEMPOTENCY_KEY

if TYPE_CHECKING:
    from google.protobuf.descriptor import MethodDescriptor
    from google.protobuf.message import Message

    from contracts.documents.json_schema import Schema

_REQUEST = '"$request"'


@dataclass(frozen=True, slots=True)
class ShellWords:
    """Words of commands that depend on the reader: the API key, and the address if there is no default port."""

    api_key: str = "$API_KEY"
    address: str = "$ADDRESS"


class Commands:
    """Commands for the methods of a catalog."""

    def __init__(self, catalog: Catalog, words: ShellWords) -> None:
        self._catalog = catalog
        self._words = words
        self._examples: dict[str, Message] = {}

    def example_of(self, method: MethodDescriptor) -> Message:
        """Return the example request of a method."""
        name = method.input_type.full_name
        if name not in self._examples:
            self._examples[name] = example_of(GetMessageClass(method.input_type))
        return self._examples[name]

    def example_as_json(self, method: MethodDescriptor) -> Schema:
        """Return the example request of a method in protobuf's JSON."""
        written: Schema = json_format.MessageToDict(self.example_of(method))
        return written

    def address_of(self, method: MethodDescriptor) -> str:
        """Return the address of a method's service in a local mesh, or a shell variable."""
        port = self._catalog.port_of(method.containing_service)
        return f"127.0.0.1:{port}" if port else self._words.address

    def shell(self, method: MethodDescriptor) -> str:
        """Return the commands of all tools, below the request that they share."""
        data = shlex.quote(json.dumps(self.example_as_json(method), ensure_ascii=False))
        commands = [self.buf_curl(method), self.grpcurl(method)]
        if self._is_in_mesh(method):
            commands.append(self.solo60_call(method))
        return "\n".join([f"request={data}", *commands])

    def buf_curl(self, method: MethodDescriptor) -> str:
        """Return the command of buf, for a request in the shell variable `request`."""
        return buf_curl(self._words_of(method))

    def grpcurl(self, method: MethodDescriptor) -> str:
        """Return the command of grpcurl, for a request in the shell variable `request`."""
        return grpcurl(self._words_of(method))

    def solo60_call(self, method: MethodDescriptor) -> str:
        """Return the command of this repository. It creates an idempotency key by itself."""
        service = next(each.document for each in self._catalog.services if each.descriptor is method.containing_service)
        return solo60_call(f"{service}.{method.name}", _REQUEST)

    def python(self, method: MethodDescriptor) -> str:
        """Return a program with the typed stub."""
        address = self.address_of(method)
        text = f'os.environ["{address[1:]}"]' if address.startswith("$") else f'"{address}"'
        headers = [(API_KEY, 'os.environ["API_KEY"]')]
        if self.needs_key(method):
            headers.append((IDEMPOTENCY_KEY, "str(uuid4())"))
        channel = None if self._is_in_mesh(method) else BareChannel(text, tuple(headers))
        return python_call(method, self.example_of(method), channel)

    def needs_key(self, method: MethodDescriptor) -> bool:
        """Return whether a call must have an idempotency key."""
        policy = self._catalog.option_of(method, POLICY)
        return policy is not None and bool(policy.idempotency)

    def _is_in_mesh(self, method: MethodDescriptor) -> bool:
        return bool(self._catalog.port_of(method.containing_service)) and not method.client_streaming

    def _words_of(self, method: MethodDescriptor) -> CallWords:
        headers = [f'"{API_KEY}: {self._words.api_key}"']
        if self.needs_key(method):
            headers.append(f'"{IDEMPOTENCY_KEY}: $(uuidgen)"')
        return CallWords(name_of(method), self.address_of(method), _REQUEST, tuple(headers))
