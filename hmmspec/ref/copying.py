"""Where the bytes of pages live, and how they move: real arrays, really copied.

The data of a memory is one array of bytes, a row of 4096 for each frame.  Many frames are copied by a compiled loop
where there is a C compiler and by numpy where there is none; the bytes are the same.  Both go through the source in
the order of its frames, which on shuffled frames is what makes the difference: half of the accesses are sequential.
"""

from __future__ import annotations

import ctypes
import mmap
import os
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from itertools import pairwise
from pathlib import Path
from threading import Thread
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from hmmspec.clib.compile import CannotCompile, TooSlow, build

PAGE_SIZE = 4096  # bytes

Pages: TypeAlias = NDArray[np.uint8]  # (frames, PAGE_SIZE)
Rows: TypeAlias = NDArray[np.int64]  # frame numbers, rows of a Pages
Loop: TypeAlias = Callable[[int, int, int, int, int], None]  # destination, its rows, source, its rows, how many

_MANY = 512  # frames from which on the compiled loop is asked for: less is not worth starting a compiler
_SHARE = 4096  # frames from which on a second thread pays
_THREADS = 4  # at most; memory is the limit soon
_CHUNK = 128  # frames that numpy moves at a time, through a buffer that stays in a core's cache
_HUGE = 2 << 20  # bytes; larger memories ask for huge pages of the host, which spares its TLB
_SECONDS = 60.0  # for the C compiler
_OUTSIDE = "a frame outside of its memory"


def pages(count: int) -> Pages:
    """So many frames, all zero.  Memory that is never touched is never taken from the host."""
    size = count * PAGE_SIZE
    if size < _HUGE:
        return np.zeros((count, PAGE_SIZE), np.uint8)
    room = mmap.mmap(-1, size)
    with suppress(OSError, AttributeError):  # an advice: a host without huge pages is slower, that is all
        room.madvise(mmap.MADV_HUGEPAGE)
    return np.frombuffer(room, np.uint8).reshape(count, PAGE_SIZE)


def copy_frames(to: Pages, to_rows: Rows, source: Pages, source_rows: Rows, *, compiled: bool = True) -> None:
    """Row source_rows[i] of `source` into row to_rows[i] of `to`, for every i.

    No row may be written twice, and none that is written may be read: then the order cannot be seen.
    compiled=False asks for numpy even where there is a compiler.  Raises IndexError for a row that is not there.
    """
    count = len(to_rows)
    if count < 16:
        for i, j in zip(to_rows.tolist(), source_rows.tolist(), strict=True):
            if i < 0 or j < 0:
                raise IndexError(_OUTSIDE)
            to[i] = source[j]
        return
    _inside(to, to_rows)
    _inside(source, source_rows)
    if not bool((source_rows[1:] >= source_rows[:-1]).all()):
        order = _ascending(source_rows)
        to_rows, source_rows = to_rows[order], source_rows[order]
    loop = _loop() if compiled and count >= _MANY else None
    if loop is None:
        _copy_numpy(to, to_rows, source, source_rows)
        return
    _in_threads(loop, to, np.ascontiguousarray(to_rows, np.int64), source, np.ascontiguousarray(source_rows, np.int64))


def zero_frames(to: Pages, rows: Rows) -> None:
    """Fill these rows with zeros."""
    to[rows] = 0


def how_copied() -> str:
    """How many frames at once are copied here: 'compiled loop', or 'numpy (why)'."""
    return "compiled loop" if _loop() is not None else f"numpy ({_compiled()[1]})"


def _in_threads(loop: Loop, to: Pages, to_rows: Rows, source: Pages, source_rows: Rows) -> None:
    """The compiled loop on as many processors as this process may use; C code does not hold the interpreter's lock."""
    count = len(to_rows)
    wanted = min(_THREADS, processors(), count // _SHARE) if count >= 2 * _SHARE else 1
    down, up = to.ctypes.data, source.ctypes.data
    edges = [count * i // wanted for i in range(wanted + 1)]
    calls = [
        (down, to_rows.ctypes.data + 8 * low, up, source_rows.ctypes.data + 8 * low, high - low)
        for low, high in pairwise(edges)
    ]
    others = [Thread(target=loop, args=call) for call in calls[1:]]
    for thread in others:
        thread.start()
    loop(*calls[0])
    for thread in others:
        thread.join()


def processors() -> int:
    """How many of the machine's processors this process may use; HMMSPEC_COPY_THREADS lowers it (1: no threads)."""
    try:
        found = len(os.sched_getaffinity(0))
    except AttributeError:
        found = os.cpu_count() or 1
    wanted = os.environ.get("HMMSPEC_COPY_THREADS", "")
    return max(1, min(found, int(wanted))) if wanted.isdecimal() else found


def _ascending(rows: Rows) -> Rows:
    """What puts rows into ascending order.  They are mostly different and dense, so no comparing is needed."""
    low = int(rows.min())
    room = int(rows.max()) - low + 1
    if room <= 64 * len(rows):
        places = np.full(room, -1, np.int32)
        places[rows - low] = np.arange(len(rows), dtype=np.int32)
        order = places[places >= 0].astype(np.int64)
        if len(order) == len(rows):
            return order
    return np.argsort(rows, kind="stable").astype(np.int64, copy=False)


def _copy_numpy(to: Pages, to_rows: Rows, source: Pages, source_rows: Rows) -> None:
    # As one item a row, which numpy moves with memcpy.
    row = np.dtype(f"V{PAGE_SIZE}")
    down, up = to.view(row).reshape(-1), source.view(row).reshape(-1)
    buffer = np.empty(_CHUNK, row)
    for start in range(0, len(to_rows), _CHUNK):
        part = to_rows[start : start + _CHUNK]
        held = buffer[: len(part)]
        np.take(up, source_rows[start : start + _CHUNK], out=held, mode="clip")
        down[part] = held


def _inside(data: Pages, rows: Rows) -> None:
    """What C would not notice, and numpy's clipping would hide."""
    if data.dtype != np.uint8 or data.ndim != 2 or data.shape[1] != PAGE_SIZE or not data.flags.c_contiguous:
        raise ValueError("not an array of pages")
    if len(rows) and (int(rows.min()) < 0 or int(rows.max()) >= len(data)):
        raise IndexError(_OUTSIDE)


def _loop() -> Loop | None:
    return _compiled()[0]


@cache
def _compiled() -> tuple[Loop | None, str]:
    """The compiled loop, or why there is none."""
    text = Path(__file__).with_name("copying.c").read_text(encoding="utf-8")
    try:
        built = build(text, _SECONDS)
    except CannotCompile as e:
        return None, str(e)
    except TooSlow:
        return None, f"the C compiler took longer than {_SECONDS:.0f} s"
    try:
        library = ctypes.CDLL(str(built.path))
        loop = library.copy_frames
    except (OSError, AttributeError) as e:
        return None, f"the compiled loop does not load: {e}"
    finally:
        built.loaded()
    loop.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)
    loop.restype = None
    found: Loop = loop
    return found, ""
