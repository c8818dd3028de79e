"""Generator of hostile requests from a seed, and the limits of their answers."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import grpc

from contracts.services import all_methods

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from contracts.method import Method

MAX_MESSAGE_BYTES = 256
# All codes but those of server faults. A request that is valid by chance may succeed or get NOT_FOUND.
ALLOWED_CODES = frozenset(grpc.StatusCode) - {grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN}
ROOT = Path(__file__).parents[2]
# Tracebacks, SQL, paths, database URLs, and class names.
FOREIGN_TEXT = re.compile(
    rf"Traceback|File \"|\.py\b|/home/|/usr/|/tmp/|{re.escape(f'/{ROOT.parts[1]}/')}"
    r"|postgres|asyncpg|\bselect\b.*\bfrom\b|\binsert into\b"
    r"|<class|object at 0x|\w+Error\b|\w+Exception\b|\bdef \w+\(|\x1b|[\r\n]",
    re.IGNORECASE,
)
HOSTILE_TEXTS = (
    "a\u2028b",
    "'; drop table users; --",
    "../../etc/passwd",
    "%s%s%n{}{0.__class__}",
    "\x1b[31mred\x1b[0m",
    'x\r\n{"event": "forged"}',
    "\x00",
    "\ud7ff\uffff\U0010ffff",
    "v" * 3_000,
)
# gRPC's client rejects headers other than ASCII text, so only a raw peer could send those.
HOSTILE_HEADERS = ("'; drop table users; --", "{}%s%n", "v" * 3_000, "~" * 64, " ", "", "00-0-0-zz", "a,b;c=d", '"')
HEADERS = ("x-correlation-id", "x-user-id", "idempotency-key", "traceparent", "baggage", "x-retry-origin", "x-other")
WRONG_PATHS = (
    "/",
    "//",
    "/solo60.gym.v1.GymService/",
    "/solo60.gym.v1.GymService/Nothing",
    "/solo60.gym.v1.GymService/GetGym/GetGym",
    "/../../etc/passwd",
    "/solo60.gym.v1.GymService/GetGym?x=1",
    "/google.protobuf.Any/x",
)


class Request(NamedTuple):
    """Path, bytes, metadata and timeout of one call."""

    path: str
    message: bytes
    metadata: tuple[tuple[str, str | bytes], ...]
    timeout_s: float


def requests(random: Random, key: str, number: int, methods: list[Method] | None = None) -> list[Request]:
    """Return `number` requests, spread evenly over `methods` (default: all) and determined by the seed of `random`."""
    methods = methods or list(all_methods().values())
    return [_request(random, key, methods[index % len(methods)]) for index in range(number)]


def _request(random: Random, key: str, method: Method) -> Request:
    path = random.choice(WRONG_PATHS) if random.random() < 0.03 else method.path
    message = random.choice(_MESSAGES)(random, method)
    keys = [key] * 15 + [key[:-1], key.upper(), "", key + key, "s60_test_x"]
    metadata: list[tuple[str, str | bytes]] = [("x-api-key", random.choice(keys)), *_hostile_metadata(random)]
    timeout_s = random.choice([20.0] * 12 + [0.001, 0.0, 1e6])
    return Request(path, message, tuple(metadata), timeout_s)


def _hostile_metadata(random: Random) -> list[tuple[str, str | bytes]]:
    found: list[tuple[str, str | bytes]] = [
        (random.choice(HEADERS), random.choice(HOSTILE_HEADERS)) for _ in range(random.randrange(3))
    ]
    if random.random() < 0.2:
        found.append(("x-garbage-bin", random.randbytes(random.randrange(500))))
    if random.random() < 0.1:
        found.append(("grpc-status-details-bin", random.randbytes(50)))
    if random.random() < 0.7:
        found.append(("idempotency-key", f"fuzz-{random.getrandbits(64):016x}"))
    return found


def _garbage(random: Random, _method: Method) -> bytes:
    return random.randbytes(random.choice([0, 1, 2, 10, 100, 1_000, 20_000]))


def _large(random: Random, _method: Method) -> bytes:
    return random.choice([b"\x0a\x00", b"\x10\x01", b"\x00", b"\xff"]) * random.choice([30_000, 300_000, 1_500_000])


def _other_type(random: Random, _method: Method) -> bytes:
    return _sketch(random, random.choice(list(all_methods().values())))


def _truncated(random: Random, method: Method) -> bytes:
    whole = _sketch(random, method)
    return whole[: random.randrange(len(whole) + 1)]


def _flipped(random: Random, method: Method) -> bytes:
    message = bytearray(_sketch(random, method))
    for _ in range(random.randrange(1, 4)):
        if message:
            message[random.randrange(len(message))] ^= 1 << random.randrange(8)
    return bytes(message)


def _sketch(random: Random, method: Method) -> bytes:
    """Return a message with the method's fields and strange values."""
    parts = []
    for field in method.request_type.DESCRIPTOR.fields:
        if field.type in (field.TYPE_STRING, field.TYPE_BYTES, field.TYPE_MESSAGE):
            text = random.choice(HOSTILE_TEXTS).encode("utf-8", "replace")
            text = random.choice([text, b"", str(random.getrandbits(64)).encode(), _uuid(random).encode()])
            parts += [_tag(field.number, 2) + _varint(len(text)) + text] * random.choice([1, 1, 1, 2, 200])
        else:
            parts.append(_tag(field.number, 0) + _varint(random.choice([0, 1, 2**31 - 1, 2**63 - 1, 2**64 - 1, 10**6])))
    random.shuffle(parts)
    return b"".join(parts)


_MESSAGES: tuple[Callable[[Random, Method], bytes], ...] = (
    *(_garbage, _other_type, _truncated, _flipped) * 4,
    *(_sketch,) * 8,
    _large,
)


def _uuid(random: Random) -> str:
    digits = f"{random.getrandbits(128):032x}"
    return "-".join((digits[:8], digits[8:12], "7" + digits[13:16], "8" + digits[17:20], digits[20:]))


def _tag(number: int, wire_type: int) -> bytes:
    return _varint(number << 3 | wire_type)


def _varint(number: int) -> bytes:
    low, rest = number & 0x7F, number >> 7
    return bytes([low | 0x80]) + _varint(rest) if rest else bytes([low])
