"""A program's loads and stores of many whole pages, one after the other."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hmmspec.ref import access
from hmmspec.ref.frames import PAGE
from hmmspec.ref.spaces import Mm
from hmmspec.ref.state import Kernel
from hmmspec.ref.tasks import Steps, Task

Bytes = NDArray[np.uint8]


def load_range(k: Kernel, t: Task, mm: Mm, start: int, count: int) -> Steps[tuple[Bytes, str]]:
    """Read pages `start` .. `start + count - 1`: their bytes, and '' (or those before a signal, and it)."""
    if k.bulk is not None and k.workers is None:
        yield "load"
        found: tuple[Bytes, str] = k.bulk.load(t, mm, np.arange(start, start + count))
        return found
    out = np.zeros((count, PAGE), np.uint8)
    for i in range(count):
        got = yield from access.load(k, t, mm, start + i)
        if isinstance(got, str):
            return out[:i], got
        out[i] = np.frombuffer(got, np.uint8)
    return out, ""


def store_range(k: Kernel, t: Task, mm: Mm, start: int, rows: Bytes) -> Steps[tuple[int, str]]:
    """Write rows (count, 4096) to the pages from `start` on: how many were written, and '' or the signal that came."""
    if k.bulk is not None and k.workers is None:
        yield "store"
        done: tuple[int, str] = k.bulk.store(t, mm, np.arange(start, start + len(rows)), rows)
        return done
    for i, row in enumerate(rows):
        answer = yield from access.store(k, t, mm, start + i, row.tobytes())
        if answer != "ok":
            return i, answer
    return len(rows), ""
