"""mmu notifiers: interval subscriptions and the sequence machine that makes a device's table follow the CPU's.

NOTE(sequence-machine): per mm a sequence `seq` (S, from 2 on; odd: invalidations run) and `active` (A), how many run;
per subscription `seq` (q, always odd once inserted).  An invalidation that overlaps a subscription makes S odd and
hands the value to every callback, which stores it in q *under the driver's lock*.  The last one to end makes S even,
and works off what was to be inserted or removed meanwhile.  A reader that finds q == S waits; later, under the
driver's lock, a q that differs from what it read says that its pages may have changed.

Source: `mm/mmu_notifier.c` @0454b1057d90; 319561669a59 (remove reads S under the spinlock), ec131b2d7fa6 (callbacks run
at the start), 5a136b4ae327 (errors of start are not lost, counters not leaked).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from hmmspec.ref.cost.timeline import Kind
from hmmspec.ref.spaces import Mm
from hmmspec.ref.state import Kernel
from hmmspec.ref.tasks import Mutex, Steps, Task, Waitable

UNMAP: Final = "UNMAP"
CLEAR: Final = "CLEAR"
PROTECTION_VMA: Final = "PROTECTION_VMA"
PROTECTION_PAGE: Final = "PROTECTION_PAGE"
SOFT_DIRTY: Final = "SOFT_DIRTY"
RELEASE: Final = "RELEASE"
MIGRATE: Final = "MIGRATE"
EXCLUSIVE: Final = "EXCLUSIVE"
EVENTS: Final = (UNMAP, CLEAR, PROTECTION_VMA, PROTECTION_PAGE, SOFT_DIRTY, RELEASE, MIGRATE, EXCLUSIVE)
EVERYTHING: Final = 1 << 52  # vpn: past the end of every address space


@dataclass(frozen=True)
class Event:
    """What an invalidation is about; `owner`: the pgmap owner of MIGRATE and EXCLUSIVE, who may ignore it."""

    kind: str
    start: int
    end: int
    owner: object | None = None
    blockable: bool = True


Invalidate = Callable[[Kernel, Task, "Subscription", Event, int], Steps[bool]]


@dataclass(eq=False)
class Subscription:
    """One interval notifier.  `invalidate` takes the driver's lock, calls `set_seq`, shoots device entries down.

    It returns False where it would have to block and must not.  It may return True without `set_seq` for an event of
    its own owner.
    """

    mm: Mm
    start: int
    end: int
    invalidate: Invalidate
    name: str = "subscription"
    finish: Callable[[Kernel, Task, Subscription, Event], Steps[None]] | None = None  # second pass (two_pass_notifiers)
    seq: int = 0
    freed: bool = False  # its owner may have given the memory back


@dataclass(eq=False)
class Subscriptions:
    """What an mm keeps: NOTE(sequence-machine)."""

    seq: int = 2
    active: int = 0
    subs: list[Subscription] = field(default_factory=list)
    deferred: list[tuple[str, Subscription]] = field(default_factory=list)
    lock: Mutex = field(default_factory=lambda: Mutex("notifier spinlock", spin=True))
    changed: Waitable = field(default_factory=lambda: Waitable("notifier sequence"))
    running: list[Event] = field(default_factory=list)  # started and not ended (I5)


def subscriptions(mm: Mm) -> Subscriptions:
    """The mm's subscriptions; made when first asked for."""
    if mm.notifiers is None:
        mm.notifiers = Subscriptions()
    assert isinstance(mm.notifiers, Subscriptions)
    return mm.notifiers


def start(k: Kernel, t: Task, mm: Mm, event: Event) -> Steps[bool]:
    """Begin an invalidation: all callbacks have returned when it does.  False: one would have to block and may not;
    then there is no end to call."""
    if mm.notifiers is None:
        return True
    n = subscriptions(mm)
    yield from n.lock.acquire(t)
    n.active += 1
    hit = [s for s in n.subs if s.start < event.end and event.start < s.end]
    if hit and "notifier-stays-even" not in k.defects:
        n.seq |= 1
    now = n.seq
    n.lock.release(t)
    if "notifier-at-end" in k.defects:
        n.running.append(event)
        return True
    if not (yield from _call(k, t, hit, event, now)):
        if "notifier-counter-leak" not in k.defects:
            yield from _finish(k, t, n)
        return False
    n.running.append(event)
    return True


def _call(k: Kernel, t: Task, hit: list[Subscription], event: Event, now: int) -> Steps[bool]:
    good = True
    for sub in hit[:1] if "notifier-calls-only-first" in k.defects else hit:
        yield "notifier called"
        if sub.freed:
            k.report("uaf", f"a callback of {sub.name} runs after its owner freed it")
        k.line.charge(Kind.NOTIFY, count=min(event.end, sub.end) - max(event.start, sub.start))
        answer = yield from sub.invalidate(k, t, sub, event, now)
        if not answer:
            if event.blockable:
                k.report("warning", f"{sub.name} failed to invalidate although it might have blocked")
            good = "notifier-ignores-failure" in k.defects
    if "two_pass_notifiers" in k.profile:
        for sub in hit:
            if sub.finish is not None:
                yield from sub.finish(k, t, sub, event)
    return good


def end(k: Kernel, t: Task, mm: Mm, event: Event) -> Steps[None]:
    """End an invalidation that `start` began."""
    if mm.notifiers is None:
        return
    n = subscriptions(mm)
    if event not in n.running:
        # The first subscription of the mm came after the start: `insert` found no invalidation that it had to wait for.
        return
    if "notifier-at-end" in k.defects:
        hit = [s for s in n.subs if s.start < event.end and event.start < s.end]
        yield from _call(k, t, hit, event, n.seq)
    n.running.remove(event)
    yield from _finish(k, t, n)


def _finish(k: Kernel, t: Task, n: Subscriptions) -> Steps[None]:
    yield from n.lock.acquire(t)
    n.active -= 1
    if n.active < 0:
        k.report("I10", "an invalidation ends that never began")
        n.active = 0
    if n.active or not n.seq & 1:
        n.lock.release(t)
        return
    n.seq += 1
    yield "notifier sequence"
    deferred, n.deferred = n.deferred, []
    for what, sub in deferred:
        if sub.freed:
            k.report("uaf", f"{sub.name} is still queued, and its owner freed it (319561669a59)")
        if what == "insert":
            n.subs.append(sub)
        elif sub in n.subs:
            n.subs.remove(sub)
    n.lock.release(t)
    if "notifier-end-wakes-nobody" not in k.defects:
        n.changed.wake_all()


def set_seq(sub: Subscription, seq: int) -> None:
    """To be called by a callback, under the driver's lock (mmu_interval_set_seq)."""
    sub.seq = seq


def insert(_k: Kernel, t: Task, sub: Subscription) -> Steps[None]:
    """Register a subscription (mmu_interval_notifier_insert)."""
    n = subscriptions(sub.mm)
    yield from n.lock.acquire(t)
    if n.active:
        if n.seq & 1:
            n.deferred.append(("insert", sub))
        else:
            n.seq |= 1
            n.subs.append(sub)
        sub.seq = n.seq
    else:
        n.subs.append(sub)
        sub.seq = n.seq - 1
    n.lock.release(t)


def remove(k: Kernel, t: Task, sub: Subscription) -> Steps[None]:
    """Unregister; when it returns, no callback runs and the subscription may be freed.  Not from within a callback."""
    n = subscriptions(sub.mm)
    yield from n.lock.acquire(t)
    now = n.seq
    if n.seq & 1:
        if ("insert", sub) in n.deferred:
            n.deferred.remove(("insert", sub))
            waits = False
        else:
            n.deferred.append(("remove", sub))
            waits = True
    else:
        n.subs.remove(sub)
        waits = False
    n.lock.release(t)
    while waits:
        yield "notifier remove"
        if "notifier-remove-early" in k.defects:
            if n.seq != now:
                break
            yield n.changed if not n.lock.owner else "notifier remove"
            continue
        yield from n.lock.acquire(t)
        changed = n.seq != now
        n.lock.release(t)
        if changed:
            break
        yield n.changed
    sub.freed = True


def read_begin(k: Kernel, t: Task, sub: Subscription) -> Steps[int]:
    """The sequence to compare with later; sleeps while an invalidation of the subscription runs."""
    n = subscriptions(sub.mm)
    yield from n.lock.acquire(t)
    seq = sub.seq
    busy = seq == n.seq
    now = n.seq
    n.lock.release(t)
    if "notifier-reader-does-not-wait" in k.defects:
        return seq
    while busy and n.seq == now:
        yield n.changed
    return seq


def read_retry(sub: Subscription, seq: int) -> bool:
    """Whether an invalidation came in between; only under the driver's lock is the answer worth anything."""
    return sub.seq != seq


def check_retry(sub: Subscription, seq: int) -> bool:
    """The same without a lock: a hint to give up early."""
    return sub.seq != seq
