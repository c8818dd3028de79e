"""A raw peer: one HTTP/2 connection on which anything may be sent, frame by frame, whatever the protocol allows."""

from __future__ import annotations

import select
import socket
import time
from collections import Counter
from typing import TYPE_CHECKING, Self

from hpack import Decoder, Encoder
from hyperframe.exceptions import HyperframeError
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tests.attack.target import Target

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
LARGEST_FRAME = 16_384
DEFAULT_WINDOW = 65_535
# A peer that can neither send nor be answered for so long gives up.
PATIENCE_S = 20.0


class RawPeer:
    """A connection to a target; `is_closed` once the target has had enough of it.

    `goaways` and `resets` count what the target has answered by its error code, `statuses` by its gRPC status.
    """

    def __init__(self, target: Target, *, preface: bool = True) -> None:
        self._target = target
        self._socket = socket.create_connection(("127.0.0.1", target.port), timeout=PATIENCE_S)
        self._socket.setblocking(False)  # noqa: FBT003 - the standard library's
        self._encoder = Encoder()
        self._decoder = Decoder()
        self._received = bytearray()
        self._answers = bytearray()
        self._next_stream = 1
        self._initial_window = DEFAULT_WINDOW
        self._windows: Counter[int] = Counter({0: DEFAULT_WINDOW})
        self._verdicts_told = 0
        self.is_closed = False
        self.goaways: Counter[int] = Counter()
        self.resets: Counter[int] = Counter()
        self.statuses: Counter[str] = Counter()
        if preface:
            self.send_bytes(PREFACE + SettingsFrame(0).serialize())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def new_stream(self) -> int:
        """Return the id of the next stream."""
        self._next_stream += 2
        return self._next_stream - 2

    def header_block(self, path: str, extra: Iterable[tuple[str, str]] = ()) -> bytes:
        """Return the compressed headers of a call with the target's good key."""
        return self._encoder.encode(
            [
                (":method", "POST"),
                (":scheme", "http"),
                (":path", path),
                (":authority", "localhost"),
                ("te", "trailers"),
                ("content-type", "application/grpc"),
                ("grpc-timeout", "20S"),
                ("x-api-key", self._target.key),
                *extra,
            ],
            huffman=False,  # in Python it takes minutes for a megabyte
        )

    def headers(self, stream: int, path: str, extra: Sequence[tuple[str, str]] = ()) -> Frame:
        """Return the whole headers of a call in one frame."""
        return HeadersFrame(stream, self.header_block(path, extra), flags=["END_HEADERS"])

    def send_headers(self, stream: int, block: bytes, *, end: bool = True) -> None:
        """Send a header block of any length, in as many frames as it takes."""
        parts = [block[at : at + LARGEST_FRAME] for at in range(0, len(block), LARGEST_FRAME)]
        frames: list[Frame] = [HeadersFrame(stream, parts[0])]
        frames += [ContinuationFrame(stream, part) for part in parts[1:]]
        if end:
            frames[-1].flags.add("END_HEADERS")
        self.send(*frames)

    def send_message(self, stream: int, message: bytes, *, compressed: bool = False) -> None:
        """Send one gRPC message and the end of the stream."""
        framed = bytes([compressed]) + len(message).to_bytes(4, "big") + message
        parts = [framed[at : at + LARGEST_FRAME] for at in range(0, len(framed), LARGEST_FRAME)]
        frames = [DataFrame(stream, part) for part in parts]
        frames[-1].flags.add("END_STREAM")
        for frame in frames:
            self._await_window(stream, len(frame.data))
            self.send(frame)

    def _await_window(self, stream: int, size: int) -> None:
        until = time.monotonic() + PATIENCE_S
        while min(self._windows[0], self._initial_window + self._windows[stream]) < size and not self.is_closed:
            if time.monotonic() > until or self.statuses or self.resets:
                self.is_closed = True
            self.read_for(0.01)
        self._windows[0] -= size
        self._windows[stream] -= size

    def send(self, *frames: Frame, reading: bool = True) -> None:
        """Send frames, as far as the target takes them; answers are read meanwhile unless `reading` is False."""
        self.send_bytes(b"".join(frame.serialize() for frame in frames), reading=reading)

    def send_bytes(self, data: bytes, *, reading: bool = True) -> None:
        """Send arbitrary bytes, after the pending acknowledgements: a new window takes effect once acknowledged."""
        rest = memoryview(bytes(self._answers) + data)
        self._answers.clear()
        while rest and not self.is_closed:
            readable, writable, _ = select.select([self._socket] if reading else [], [self._socket], [], PATIENCE_S)
            if readable:
                self._read()
            if writable:
                rest = rest[self._write(rest) :]
            if not (readable or writable):
                self.is_closed = True

    def read_for(self, seconds: float) -> None:
        """Read what the target answers for so long, or until it closes the connection."""
        until = time.monotonic() + seconds
        while not self.is_closed and (left_s := until - time.monotonic()) > 0:
            if select.select([self._socket], [], [], left_s)[0]:
                self._read()
                self.send_bytes(b"", reading=False)

    def read_verdict(self) -> None:
        """Read until the target has ended one more call, or the connection, by whatever means; give up after a while.

        An end that was read already, beside something sent, is the next one.
        """
        until = time.monotonic() + PATIENCE_S
        while self._verdicts() == self._verdicts_told and not self.is_closed and time.monotonic() < until:
            self.read_for(0.01)
        self._verdicts_told = self._verdicts()

    def _verdicts(self) -> int:
        return sum(sum(each.values()) for each in (self.statuses, self.resets, self.goaways))

    def _write(self, data: memoryview) -> int:
        try:
            return self._socket.send(data)
        except BlockingIOError:
            return 0
        except OSError:
            self.is_closed = True
            return 0

    def _read(self) -> None:
        try:
            data = self._socket.recv(1 << 16)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self.is_closed = self.is_closed or not data
        self._received += data
        self._take_frames()

    def _take_frames(self) -> None:
        while len(self._received) >= 9:
            frame, length = Frame.parse_frame_header(memoryview(bytes(self._received[:9])))
            if len(self._received) < 9 + length:
                return
            try:
                frame.parse_body(memoryview(bytes(self._received[9 : 9 + length])))
            except HyperframeError:
                self.is_closed = True
                return
            del self._received[: 9 + length]
            self._take(frame)

    def _take(self, frame: Frame) -> None:
        if isinstance(frame, GoAwayFrame):
            self.goaways[frame.error_code] += 1
        elif isinstance(frame, RstStreamFrame):
            self.resets[frame.error_code] += 1
        elif isinstance(frame, WindowUpdateFrame):
            self._windows[frame.stream_id] += frame.window_increment
        elif isinstance(frame, SettingsFrame):
            self._initial_window = frame.settings.get(SettingsFrame.INITIAL_WINDOW_SIZE, self._initial_window)
            self._acknowledge(frame, SettingsFrame(0, flags=["ACK"]))
        elif isinstance(frame, PingFrame):
            self._acknowledge(frame, PingFrame(0, frame.opaque_data, flags=["ACK"]))
        elif isinstance(frame, HeadersFrame):
            headers = {str(name): str(value) for name, value in self._decoder.decode(frame.data)}
            if "grpc-status" in headers:
                self.statuses[headers["grpc-status"]] += 1

    def _acknowledge(self, frame: Frame, answer: Frame) -> None:
        if "ACK" not in frame.flags:
            self._answers += answer.serialize()
