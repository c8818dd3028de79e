"""Commands of the shell that make one call: buf curl, grpcurl and solo60 call."""

from __future__ import annotations

import shlex
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CallWords:
    """Words of a command that makes a call.

    `method` is the full name ("package.Service/Method"), and `address` is host:port. `request` and `headers` are
    already quoted for the shell, as in `'{"page_size": 1}'` and `"x-api-key: $API_KEY"`. `literal_headers` are not
    quoted, as in "x-note: it's". `timeout_s` is None without a timeout.
    """

    method: str
    address: str
    request: str
    headers: tuple[str, ...] = ()
    literal_headers: tuple[str, ...] = ()
    timeout_s: float | None = None


def buf_curl(call: CallWords) -> str:
    """Return the command of buf. It has no option for a timeout."""
    headers = (*call.headers, *(shlex.quote(_csv_field(each)) for each in call.literal_headers))
    options = " ".join(["--http2-prior-knowledge --protocol grpc", *(f"-H {each}" for each in headers)])
    return f"buf curl {options} -d {call.request} {_in_quotes(f'http://{call.address}/{call.method}')}"


def grpcurl(call: CallWords) -> str:
    """Return the command of grpcurl."""
    headers = (*call.headers, *map(shlex.quote, call.literal_headers))
    options = ["-plaintext", *(f"-H {each}" for each in headers)]
    if call.timeout_s is not None:
        options.append(f"-max-time {call.timeout_s:g}")
    return f"grpcurl {' '.join(options)} -d {call.request} {_in_quotes(call.address)} {call.method}"


def solo60_call(
    name: str, request: str, metadata: tuple[tuple[str, str], ...] = (), timeout_s: float | None = None
) -> str:
    """Return the command of this repository, which has the operator's key and creates an idempotency key by itself."""
    options = [] if timeout_s is None else [f"--timeout {timeout_s:g}"]
    options += [f"--metadata {shlex.quote(f'{key}={value}')}" for key, value in metadata]
    return " ".join(["solo60 call", name, request, *options])


def _csv_field(text: str) -> str:
    """Return a text as buf expects it, because buf reads each header as a line of comma-separated values."""
    doubled = text.replace('"', '""')
    return f'"{doubled}"' if '"' in text or "," in text else text


def _in_quotes(word: str) -> str:
    return f'"{word}"' if "$" in word else word
