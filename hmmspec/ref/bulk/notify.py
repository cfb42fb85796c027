"""The notifiers of many invalidations, one after the other, while nobody else looks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hmmspec.ref.cost.timeline import Kind
from hmmspec.ref.device import Binding
from hmmspec.ref.devmem import DeviceMemory, memories
from hmmspec.ref.driver import TestDriver
from hmmspec.ref.notifier import EVERYTHING, Subscriptions, set_seq, subscriptions
from hmmspec.ref.spaces import Mm
from hmmspec.ref.state import Kernel

Ranges = NDArray[np.int64]  # a row (start, end) for each invalidation


def listeners(k: Kernel, mm: Mm) -> list[Binding] | None:
    """The devices that hear of this address space; None if somebody else does, or nobody may be called now."""
    if mm.notifiers is None:
        return []
    n = subscriptions(mm)
    known = {id(b.sub): b for m in memories(k) for b in _bindings(m) if b.mm is mm}
    if n.active or n.deferred or n.seq & 1 or any(id(s) not in known for s in n.subs):
        return None
    found = [known[id(s)] for s in n.subs]
    if any(s.start > 0 or s.end < EVERYTHING or s.freed or s.finish for s in n.subs) or any(
        b.mutex.owner for b in found
    ):
        return None
    return found


def _bindings(memory: DeviceMemory) -> list[Binding]:
    return list(memory.driver.device.bindings.values()) if isinstance(memory.driver, TestDriver) else []


def migrating(k: Kernel, mm: Mm, ranges: Ranges, owner: int) -> None:
    """Start and end a MIGRATE invalidation for each range.  The owner's device ignores it, the others erase."""
    bindings = listeners(k, mm)
    assert bindings is not None
    if not bindings:
        return
    n: Subscriptions = subscriptions(mm)
    last = n.seq + 2 * len(ranges) - 1  # the odd value while the last of them runs
    n.seq = last + 1
    sizes, times = np.unique(ranges[:, 1] - ranges[:, 0], return_counts=True)
    for size, many in zip(sizes.tolist(), times.tolist(), strict=True):
        k.line.charge(Kind.NOTIFY, count=size, times=many * len(bindings))
    for b in bindings:
        if b.device.memory.id != owner:
            set_seq(b.sub, last)
            for start, end in _joined(ranges):
                b.table.erase(start, end + ("mirror_erases_one_more" in k.profile))


def _joined(ranges: Ranges) -> list[tuple[int, int]]:
    """The ranges with neighbours joined."""
    if not len(ranges):
        return []
    cuts = np.flatnonzero(ranges[1:, 0] != ranges[:-1, 1]) + 1
    starts = ranges[np.concatenate([[0], cuts]), 0]
    ends = ranges[np.concatenate([cuts - 1, [len(ranges) - 1]]), 1]
    return list(zip(starts.tolist(), ends.tolist(), strict=True))
