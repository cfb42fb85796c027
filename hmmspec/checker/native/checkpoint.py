"""The file of a checkpoint: written whole or not at all, read with distrust.

NOTE(checkpoint-file): 8 bytes of magic; version of the format and length of the header (32 bits each), length of the
file (64 bits); the header, a JSON object; the control block (NOTE(control) in checkpoint.c); the stored states in the
order in which they were found; states that were found and for which there was no room; BLAKE2b of all that.  Numbers
are little-endian.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import stat
import struct
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import BinaryIO

from hmmspec.checker.native.unit import HASHES
from hmmspec.system.layout import MAX_WORDS

MAGIC = b"hmmckpt\n"
VERSION = 1
_PREFIX = struct.Struct("<8sIIQ")
_DIGEST = 32
_PIECE = 1 << 22  # bytes written, read and summed up at a time


class Unusable(Exception):
    """The file is not a checkpoint, or not one to go on from; the message says why."""


class Foreign(Exception):
    """The checkpoint is of another spec, other parameters or another engine; the message says what differs."""


@dataclass(frozen=True)
class Header:
    """What a checkpoint is of, and the sizes of its parts.

    path, absolute: of the spec, as it was given and from the root; overrides: what `-p` set; parts: digests of the
    System (`identity`); text: of the C text; the options that change what a search finds; words
    of a state; states, lost: how many; control: numbers of the control block; expanded: how many states
    are; searched: whether nothing is left to expand; seconds, explore_seconds: used up so far; every: seconds between
    two checkpoints.
    """

    hmmspec: str
    spec: str
    path: str
    absolute: str
    instance: str
    overrides: Mapping[str, str]
    parts: Mapping[str, str]
    text: str
    symmetry: bool
    witness: bool
    max_traces: int
    seed: int
    hash_bits: int
    words: int
    states: int
    lost: int
    control: int
    expanded: int
    searched: bool
    seconds: float
    explore_seconds: float
    every: float

    @property
    def length(self) -> int:
        """Bytes behind the header, without the checksum."""
        return 8 * (self.control + self.words * (self.states + self.lost))


# ---------------------------------------------------------------- writing


def write(path: Path, header: Header, parts: Iterable[bytes | memoryview]) -> None:
    """Write a checkpoint: under a temporary name, down to the disk, then renamed.  The file that was there stays until
    the new one is whole.  Raises OSError."""
    text = json.dumps(asdict(header)).encode()
    total = _PREFIX.size + len(text) + header.length + _DIGEST
    temporary = path.with_name(f"{_beginning(path)}{os.getpid()}")
    with suppress(FileNotFoundError):
        temporary.unlink()
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        with os.fdopen(handle, "wb", buffering=0) as out:
            whole = hashlib.blake2b(digest_size=_DIGEST)
            for part in (_PREFIX.pack(MAGIC, VERSION, len(text), total), text, *parts):
                view = memoryview(part).cast("B")
                for at in range(0, len(view), _PIECE):
                    piece = view[at : at + _PIECE]
                    _write_all(out, piece)
                    whole.update(piece)
            _write_all(out, memoryview(whole.digest()))
            os.fsync(out.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    with suppress(OSError):  # not every file system lets a folder be written down
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def remove_temporaries(path: Path) -> None:
    """Files that processes which are gone left half written beside this checkpoint."""
    beginning = _beginning(path)
    with suppress(OSError):
        for other in path.parent.iterdir():
            process = other.name.removeprefix(beginning)
            if other.name.startswith(beginning) and process.isdecimal() and not _runs(int(process)):
                other.unlink()


def _beginning(path: Path) -> str:
    return f".{path.name[:200]}.part-"


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True
    return True


def _write_all(out: BinaryIO, piece: memoryview) -> None:
    while piece:
        piece = piece[out.write(piece) :]


# ---------------------------------------------------------------- reading


@dataclass
class Saved:
    """A checkpoint that was read and is whole; to be closed.  control: its numbers, as bytes."""

    path: Path
    header: Header
    control: bytes
    _file: BinaryIO
    _at: int  # where the states begin

    def states(self, lost: bool = False) -> Iterator[bytes]:
        """The stored states, or those for which there was no room, some at a time.  Raises Unusable."""
        size = 8 * self.header.words
        left = size * (self.header.lost if lost else self.header.states)
        self._file.seek(self._at + (size * self.header.states if lost else 0))
        while left:
            piece = self._file.read(min(left, max(1, _PIECE // size) * size))
            if not piece or len(piece) % size:
                raise Unusable("it changes while it is read")
            left -= len(piece)
            yield piece

    def close(self) -> None:
        """Give the file back."""
        self._file.close()


def read(path: Path) -> Saved:
    """Read a checkpoint and check that it is whole.  Raises Unusable."""
    try:
        # A pipe would keep us waiting.
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        file = os.fdopen(handle, "rb")
    except OSError as error:
        raise Unusable(error.strerror or str(error)) from None
    try:
        return _read(path, file)
    except OSError as error:
        file.close()
        raise Unusable(error.strerror or str(error)) from None
    except BaseException:
        file.close()
        raise


def _read(path: Path, file: BinaryIO) -> Saved:
    status = os.fstat(file.fileno())
    if not stat.S_ISREG(status.st_mode):
        raise Unusable("it is not a file")
    prefix = file.read(_PREFIX.size)
    if prefix[:8] != MAGIC:
        raise Unusable("it is not a checkpoint")
    if len(prefix) < _PREFIX.size:
        raise Unusable("it is cut short")
    _, version, length, total = _PREFIX.unpack(prefix)
    if version != VERSION:
        raise Unusable(f"its format is version {version}, and this hmmspec reads version {VERSION}")
    if status.st_size < total:
        raise Unusable(f"it is cut short: {status.st_size} of {total} bytes are there")
    if status.st_size > total or _PREFIX.size + length + _DIGEST > total:
        raise Unusable("its length is not what it says")
    _verify(file, total)
    file.seek(_PREFIX.size)
    header = header_of(file.read(length))
    if _PREFIX.size + length + header.length + _DIGEST != total:
        raise Unusable("its parts are not as long as it says")
    control = file.read(8 * header.control)
    if len(control) != 8 * header.control:
        raise Unusable("it changes while it is read")
    return Saved(path, header, control, file, file.tell())


def _verify(file: BinaryIO, total: int) -> None:
    file.seek(0)
    whole = hashlib.blake2b(digest_size=_DIGEST)
    left = total - _DIGEST
    while left:
        piece = file.read(min(left, _PIECE))
        if not piece:
            raise Unusable("it changes while it is read")
        whole.update(piece)
        left -= len(piece)
    if file.read(_DIGEST) != whole.digest():
        raise Unusable("it is damaged: its checksum is wrong")


def header_of(text: bytes) -> Header:
    """The header, each field of its type and within its bounds.  Raises Unusable: a checksum is no proof of honesty."""
    try:
        top = json.loads(text.decode())
    except (ValueError, RecursionError):
        raise Unusable("its header is not JSON") from None
    if not isinstance(top, dict) or set(top) != {f.name for f in fields(Header)}:
        raise Unusable("its header has other fields than a checkpoint has")
    for f in fields(Header):
        if not _fits(f.name, str(f.type), top[f.name]):
            raise Unusable(f"'{f.name}' in its header is unfit")
    return Header(**top)


_BOUNDS = {"max_traces": (1, (1 << 31) - 1), "words": (1, MAX_WORDS), "seed": (-(1 << 999), 1 << 999)}


def _fits(name: str, kind: str, value: object) -> bool:
    if (name == "hash_bits" and value not in (0, *HASHES)) or (name == "every" and value == 0):
        return False
    match kind:
        case "str":
            return isinstance(value, str) and "\0" not in value
        case "bool":
            return isinstance(value, bool)
        case "int":
            low, high = _BOUNDS.get(name, (0, (1 << 32) - 1))
            return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high
        case "float":
            return isinstance(value, float | int) and not isinstance(value, bool) and 0 <= value < math.inf
        case _:
            return isinstance(value, dict) and all(isinstance(v, str) for v in value.values())
