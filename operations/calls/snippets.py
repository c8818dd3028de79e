"""A call as text to copy: solo60 call, buf curl, grpcurl and Python. No text contains a key."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

from google.protobuf import descriptor_pool, json_format

from contracts.documents.call_commands import CallWords, buf_curl, grpcurl, solo60_call
from contracts.documents.python_example import python_call
from contracts.metadata import API_KEY, IDEMPOTENCY_KEY
from contracts.services import short_service_name
from local.keys import OPERATOR
from mesh.service_urls import url_field

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from contracts.method import Method
    from mesh.config import Settings
    from operations.calls.traced_call import CallOptions

DEFAULT_DATA_DIR = ".data"


@dataclass(frozen=True, slots=True)
class Snippet:
    """Text that makes a call with the tool of this name. `note` says how to run it."""

    tool: str
    text: str
    note: str = ""


def snippets_of(method: Method, request: Message, options: CallOptions, settings: Settings) -> list[Snippet]:
    """Return the texts for one call of a running mesh. The commands read the key from a file or from $API_KEY."""
    found = [] if options.at else [Snippet("solo60", _solo60(method, request, options, settings))]
    words = _words(method, request, options, settings)
    buf_note = "" if options.timeout_s is None else "buf curl has no option for a timeout."
    found += [Snippet("buf curl", buf_curl(words), buf_note), Snippet("grpcurl", grpcurl(words))]
    if not options.at:
        found.append(Snippet("Python", _python(method, request, options), _python_note(settings, method)))
    return found


def key_word(settings: Settings) -> str:
    """Return the shell words that read an API key: from the operator's file of a local mesh, or from $API_KEY."""
    path = settings.key_path_of(OPERATOR)
    return f"$(cat {shlex.quote(str(path.absolute()))})" if path.exists() else "$API_KEY"


def _solo60(method: Method, request: Message, options: CallOptions, settings: Settings) -> str:
    command = solo60_call(method.short_name, _json_word(request), options.metadata, options.timeout_s)
    return f"{_environment(settings, method)}{command}"


def _environment(settings: Settings, method: Method) -> str:
    """Return the settings by which a command finds a mesh that has others than the default."""
    changed = {}
    field = url_field(short_service_name(method.service))
    if getattr(settings, field) != type(settings).model_fields[field].default:
        changed[field.upper()] = str(getattr(settings, field))
    if settings.data_dir.is_absolute() or str(settings.data_dir) != DEFAULT_DATA_DIR:
        changed["DATA_DIR"] = str(settings.data_dir.absolute())
    if settings.port_offset:
        changed["PORT_OFFSET"] = str(settings.port_offset)
    return "".join(f"{name}={shlex.quote(value)} " for name, value in changed.items())


def _words(method: Method, request: Message, options: CallOptions, settings: Settings) -> CallWords:
    names = [name for name, _ in options.metadata]
    headers = [f'"{API_KEY}: {key_word(settings)}"']
    if method.policy.idempotency_key_required and IDEMPOTENCY_KEY not in names:
        headers.append(f'"{IDEMPOTENCY_KEY}: $(uuidgen)"')
    chosen = tuple(f"{name}: {value}" for name, value in options.metadata)
    address = settings.url_of(options.at or short_service_name(method.service)).removeprefix("dns:///")
    return CallWords(method.full_name, address, _json_word(request), tuple(headers), chosen, options.timeout_s)


def _python(method: Method, request: Message, options: CallOptions) -> str:
    service = descriptor_pool.Default().FindServiceByName(method.service)
    arguments = "" if options.timeout_s is None else f", timeout={options.timeout_s:g}"
    if options.metadata:
        arguments += f", metadata={options.metadata!r}"
    return python_call(service.methods_by_name[method.name], request, None, arguments)


def _python_note(settings: Settings, method: Method) -> str:
    path = settings.key_path_of(OPERATOR)
    key_file = shlex.quote(str(path.absolute())) if path.exists() else "FILE"
    return f"Run it with {_environment(settings, method)}SERVICE_API_KEY_FILE={key_file} python call.py"


def _json_word(request: Message) -> str:
    as_json = json_format.MessageToDict(request, preserving_proto_field_name=True)
    return shlex.quote(json.dumps(as_json, ensure_ascii=False))
