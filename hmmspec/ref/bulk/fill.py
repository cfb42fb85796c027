"""Filling a device's mirror, many pages at once: what is mapped already, and first touches of anonymous memory."""

from __future__ import annotations

import numpy as np

from hmmspec.ref import entries as e
from hmmspec.ref import requests as rq
from hmmspec.ref.bulk import notify
from hmmspec.ref.bulk.plain import entries_at, ready, slots_of
from hmmspec.ref.bulk.touch import fault_many
from hmmspec.ref.cost.timeline import Kind
from hmmspec.ref.device import Binding, piece
from hmmspec.ref.mirror import READ, SHIFT, WRITE
from hmmspec.ref.spaces import IO, PFNMAP
from hmmspec.ref.spaces import READ as VMA_READ
from hmmspec.ref.spaces import WRITE as VMA_WRITE
from hmmspec.ref.state import Kernel
from hmmspec.ref.tasks import Task


def fill(k: Kernel, t: Task, b: Binding, start: int, end: int, write: bool) -> int:
    """`fault_in` of whole pieces from `start` on, as long as all is ordinary.  Returns how far it came."""
    mm, size = b.mm, piece(k)
    if end - start < size or not ready(k) or b.mutex.owner is not None or notify.listeners(k, mm) is None:
        return start
    vma = mm.find(start)
    if vma is None or vma.flags & (IO | PFNMAP) or not vma.flags & VMA_READ or (write and not vma.flags & VMA_WRITE):
        return start
    stop = end if vma.end >= end else start + (vma.end - start) // size * size
    if stop - start < size:
        return start
    vpns = np.arange(start, stop)
    slots = slots_of(mm, vpns)
    words = entries_at(k, slots)
    default = rq.REQ_FAULT | (rq.REQ_WRITE if write else 0)
    own = ((words & e.KIND == e.DEVPRIV) & (k.frames.v.owner[_frames(words)] == b.device.memory.id)).astype(np.int64)
    what = rq.decide(words, np.full(len(vpns), default), own)
    missing = (words == 0) & (slots != -2)
    good = (what == rq.FINE) & (slots >= 0)
    good &= (own == 0) | (words & e.WRITE != 0) | (not write)  # that one is an error: page by page
    edges = np.arange(0, len(vpns), size)
    whole = np.logical_and.reduceat(good | missing, edges)
    n = len(vpns) if whole.all() else int(edges[int(np.argmin(whole))])
    if not n:
        return start
    holes = np.flatnonzero(missing[:n])
    if len(holes):
        done = fault_many(k, t, mm, vpns[holes], write)
        if done < len(holes):
            n = int(holes[done]) // size * size
    if not n:
        return start
    found = entries_at(k, slots_of(mm, vpns[:n])) if len(holes) else words[:n]
    seen = rq.found(found, own[:n])
    b.table.write(start, (seen & rq.PFN_MASK) << SHIFT | np.where(seen & rq.WRITE != 0, WRITE, READ))
    pieces, rest = divmod(n, size)
    k.line.charge(Kind.WALK, count=size, times=pieces)
    if rest:
        k.line.charge(Kind.WALK, count=rest)
    return start + n


def _frames(words: np.ndarray[tuple[int], np.dtype[np.int64]]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.where(words & e.KIND == e.DEVPRIV, words >> e.SHIFT, 0)
