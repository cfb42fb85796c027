"""Frames: whole, torn, spoiled; requests over a stream that loses things."""

from __future__ import annotations

import random
import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from hmmspec.linux.protocol import LONGEST, Decoder, Frame, Gone, Kind, Port, Refused, Silent, encode

FRAMES = [Frame(Kind.RUN, n, bytes(range(n % 200)) * (n % 7)) for n in range(40)]


def test_frames_come_back_however_they_are_cut() -> None:
    stream = b"".join(map(encode, FRAMES))
    for size in (1, 3, 19, 20, 21, 1000, len(stream)):
        decoder = Decoder()
        got = [f for i in range(0, len(stream), size) for f in decoder.feed(stream[i : i + size])]
        assert got == FRAMES
        assert decoder.spoiled == 0


@pytest.mark.parametrize("place", [0, 3, 4, 9, 13, 17, 20, 25])
def test_a_spoiled_frame_is_left_out_and_the_next_is_read(place: int) -> None:
    first, second = Frame(1, 7, b"hello, guest"), Frame(2, 8, b"again")
    data = bytearray(encode(first))
    data[place] ^= 0x10
    decoder = Decoder()
    got = decoder.feed(bytes(data) + encode(second))
    for _ in range(len(data)):
        # A spoiled length may ask for bytes that never come: then who waits looks behind it.
        if not got:
            decoder.restart()
            got = decoder.feed(b"")
    assert got == [second]
    assert decoder.spoiled == len(data)


def test_rubbish_between_frames_is_skipped() -> None:
    rng = random.Random(5)
    stream = b""
    for frame in FRAMES:
        stream += rng.randbytes(rng.randrange(50)).replace(b"H", b"h") + encode(frame)
    assert Decoder().feed(stream) == FRAMES


def test_a_magic_inside_a_payload_is_data() -> None:
    inner = encode(Frame(1, 1, b"x"))
    outer = Frame(2, 2, inner + inner)
    assert Decoder().feed(encode(outer)) == [outer]


def test_a_length_beyond_all_bounds_is_no_frame() -> None:
    data = bytearray(encode(Frame(1, 1, b"")))
    data[4:8] = (LONGEST + 1).to_bytes(4, "little")
    assert Decoder().feed(bytes(data) + encode(FRAMES[5])) == [FRAMES[5]]


SOCKETS: list[socket.socket] = []


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    """All ends are closed after a test."""
    yield
    while SOCKETS:
        SOCKETS.pop().close()


class Peer:
    """The other end of a port: answers each request by a function from request to frames."""

    def __init__(self, answers: Callable[[Frame], bytes]) -> None:
        ours, self._theirs = socket.socketpair()
        SOCKETS.append(ours)
        self.port = Port(ours)
        self.seen: list[Frame] = []
        self._answers = answers
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        decoder = Decoder()
        with self._theirs:
            while data := self._theirs.recv(4096):
                for frame in decoder.feed(data):
                    self.seen.append(frame)
                    out = self._answers(frame)
                    if out == b"close":
                        return
                    self._theirs.sendall(out)


def test_a_request_is_answered() -> None:
    peer = Peer(lambda f: encode(Frame(Kind.ANSWER, f.sequence, f.payload.upper())))
    assert peer.port.ask(Kind.RUN, b"abc") == b"ABC"
    assert peer.port.ask(Kind.RUN, b"de") == b"DE"
    assert [f.sequence for f in peer.seen] == [1, 2]


def test_a_request_that_could_not_be_read_is_sent_again() -> None:
    count = iter(range(10))

    def answers(f: Frame) -> bytes:
        return encode(Frame(Kind.BAD_FRAME if next(count) < 2 else Kind.ANSWER, f.sequence, b"ok"))

    peer = Peer(answers)
    assert peer.port.ask(Kind.RUN, b"abc") == b"ok"
    assert [f.sequence for f in peer.seen] == [1, 1, 1]


def test_an_answer_that_is_spoiled_or_lost_is_asked_for_again() -> None:
    count = iter(range(10))

    def answers(f: Frame) -> bytes:
        whole = encode(Frame(Kind.ANSWER, f.sequence, b"right"))
        return (b"", whole[:-1] + b"?", whole)[min(2, next(count))]

    peer = Peer(answers)
    assert peer.port.ask(Kind.RUN, b"abc", again=0.05) == b"right"
    assert {f.sequence for f in peer.seen} == {1}


def test_old_answers_are_left_aside() -> None:
    peer = Peer(lambda f: encode(Frame(Kind.ANSWER, f.sequence - 1, b"old")) + encode(Frame(0x80, f.sequence, b"new")))
    assert peer.port.ask(Kind.RUN) == b"new"


def test_silence_an_end_and_a_refusal_are_told() -> None:
    with pytest.raises(Silent):
        Peer(lambda f: b"").port.ask(Kind.RUN, seconds=0.1)
    with pytest.raises(Gone):
        Peer(lambda f: b"close").port.ask(Kind.RUN)
    with pytest.raises(Refused, match="no request"):
        Peer(lambda f: encode(Frame(Kind.REFUSED, f.sequence, b"no request"))).port.ask(Kind.RUN)
