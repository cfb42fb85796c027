"""Frames between the host and the agent in the guest, over a stream that may lose or spoil bytes.

NOTE(frames): five little-endian 32-bit words (magic, length of the payload, sequence number, kind, CRC-32 of the three
words before it and the payload), then the payload.  Who reads something that is no frame looks for the next place where
one begins.  Each request has a new sequence number; the answer has the same.  A request that is not answered, or that
the agent could not read, is sent again under its old number: the agent answers it once more and does nothing twice.
"""

from __future__ import annotations

import socket
import struct
import time
import zlib
from dataclasses import dataclass
from enum import IntEnum

MAGIC = 0x314D4D48  # "HMM1"
LONGEST = 64 << 20  # bytes of a payload
_HEAD = struct.Struct("<5I")
_WORDS = struct.Struct("<3I")


class Kind(IntEnum):
    """What a frame is."""

    HELLO = 1
    RUN = 2
    RACE = 3
    RESET = 4
    COUNTS = 5
    ANSWER = 0x80
    BAD_FRAME = 0xFE
    REFUSED = 0xFF


class Silent(Exception):
    """No answer within the time that there was."""


class Gone(Exception):
    """The other end is gone."""


class Refused(Exception):
    """The agent says that a request is none: the message says why."""


@dataclass(frozen=True)
class Frame:
    """One frame; `kind` is a `Kind`, or a number that nobody knows."""

    kind: int
    sequence: int
    payload: bytes


def encode(frame: Frame) -> bytes:
    """The bytes of a frame."""
    words = (len(frame.payload), frame.sequence, frame.kind)
    crc = zlib.crc32(frame.payload, zlib.crc32(_WORDS.pack(*words)))
    return _HEAD.pack(MAGIC, *words, crc) + frame.payload


class Decoder:
    """Frames from bytes as they come; `spoiled` counts the bytes that belonged to no whole frame."""

    def __init__(self) -> None:
        self._bytes = bytearray()
        self.spoiled = 0

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that are whole now."""
        self._bytes += data
        out: list[Frame] = []
        while (frame := self._next()) is not None:
            out.append(frame)
        return out

    def _next(self) -> Frame | None:
        magic = MAGIC.to_bytes(4, "little")
        while True:
            at = self._bytes.find(magic)
            # The end may be the beginning of a frame.
            self._drop(at if at >= 0 else max(0, len(self._bytes) - 3))
            if at < 0 or len(self._bytes) < _HEAD.size:
                return None
            _, length, sequence, kind, crc = _HEAD.unpack_from(self._bytes)
            end = _HEAD.size + length
            if length <= LONGEST:
                if len(self._bytes) < end:
                    return None
                payload = bytes(self._bytes[_HEAD.size : end])
                if zlib.crc32(payload, zlib.crc32(_WORDS.pack(length, sequence, kind))) == crc:
                    del self._bytes[:end]
                    return Frame(kind, sequence, payload)
            self._drop(1)

    def _drop(self, count: int) -> None:
        self.spoiled += count
        del self._bytes[:count]

    def restart(self) -> None:
        """Look for a frame behind the beginning of what may be a long one that never ends."""
        if len(self._bytes) >= _HEAD.size:
            self._drop(1)


class Port:
    """Requests and answers over a connected socket; one request at a time."""

    def __init__(self, stream: socket.socket) -> None:
        self._stream = stream
        self._decoder = Decoder()
        self._sequence = 0

    @property
    def sequence(self) -> int:
        """The number of the last request."""
        return self._sequence

    def ask(self, kind: Kind, payload: bytes = b"", seconds: float = 30.0, again: float = 10.0) -> bytes:
        """Send a request and wait for its answer; sent again every `again` seconds while there is silence.

        Raises Silent, Gone and Refused.
        """
        self._sequence = (self._sequence + 1) % (1 << 32)
        request = encode(Frame(kind, self._sequence, payload))
        limit = time.monotonic() + seconds
        self._send(request, limit)
        repeat = time.monotonic() + again
        while True:
            now = time.monotonic()
            if now >= limit:
                raise Silent(f"no answer within {seconds:g} s")
            if now >= repeat:
                self._decoder.restart()
                self._send(request, limit)
                repeat = now + again
            for frame in self._receive(min(limit, repeat) - now):
                if frame.sequence != self._sequence:
                    continue  # the second answer to a request that was sent twice
                if frame.kind == Kind.ANSWER:
                    return frame.payload
                if frame.kind == Kind.REFUSED:
                    raise Refused(frame.payload.decode("utf-8", "replace"))
                if frame.kind == Kind.BAD_FRAME:
                    self._send(request, limit)

    def _send(self, data: bytes, limit: float) -> None:
        try:
            self._stream.settimeout(max(0.01, limit - time.monotonic()))
            self._stream.sendall(data)
        except TimeoutError:
            raise Silent("nobody takes the request") from None
        except OSError as error:
            raise Gone(str(error)) from error

    def _receive(self, seconds: float) -> list[Frame]:
        try:
            self._stream.settimeout(max(0.001, seconds))
            data = self._stream.recv(1 << 16)
        except TimeoutError:
            return []
        except OSError as error:
            raise Gone(str(error)) from error
        if not data:
            raise Gone("the other end has closed")
        return self._decoder.feed(data)
