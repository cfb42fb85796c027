"""The sequence machine: a reader whose sequence did not change has seen no invalidation; callbacks, removal, failures."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

import pytest

from hmmspec.ref import notifier
from hmmspec.ref.exit import oom_reap
from hmmspec.ref.notifier import CLEAR, MIGRATE, Event, Subscription
from hmmspec.ref.schedule import Scheduler, Stuck, run_through
from hmmspec.ref.spaces import Mm
from hmmspec.ref.state import Config, Kernel
from hmmspec.ref.tasks import Mutex, Steps, Task
from tests.ref.machine import BASE, Machine

TINY = Config(cpus=2, system_pages=2048, device_pages=0, swap_pages=16, page_tables=8)


@dataclass(eq=False)
class Driver:
    """A device that copies a page table of its own: `cpu` is what it should follow, `table` its copy."""

    mm: Mm
    cpu: dict[int, int]
    sub: Subscription = field(init=False)
    lock: Mutex = field(default_factory=lambda: Mutex("driver mutex"))
    table: dict[int, int] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    calls: int = 0

    def __post_init__(self) -> None:
        self.sub = Subscription(self.mm, 0, 64, self.invalidate, "driver")

    def invalidate(self, k: Kernel, t: Task, sub: Subscription, event: Event, seq: int) -> Steps[bool]:
        self.calls += 1
        if event.blockable:
            yield from self.lock.acquire(t)
        elif not self.lock.try_acquire(t):
            return False
        notifier.set_seq(sub, seq)
        for page in [p for p in self.table if event.start <= p < event.end]:
            del self.table[page]
        self.lock.release(t)
        return True

    def populate(self, k: Kernel, t: Task, page: int) -> Steps[None]:
        while True:
            seq = yield from notifier.read_begin(k, t, self.sub)
            seen = self.cpu[page]
            yield "walk"
            yield from self.lock.acquire(t)
            if not notifier.read_retry(self.sub, seq):
                self.table[page] = seen
                self.lock.release(t)
                return
            self.lock.release(t)


def _changer(k: Kernel, t: Task, driver: Driver, seed: int) -> Steps[None]:
    """Changes pages as the core does: start, change, look that no device entry is left, end."""
    random = Random(seed)
    for turn in range(10):
        low = random.randrange(6)
        event = Event(CLEAR, low, low + random.randrange(1, 4))
        assert (yield from notifier.start(k, t, driver.mm, event))
        for page in range(event.start, event.end):
            driver.cpu[page] = seed * 100 + turn
            yield "changed"
            if page in driver.table:
                driver.wrong.append(f"page {page} is in the device's table during {event}")
        yield from notifier.end(k, t, driver.mm, event)


def _filler(k: Kernel, t: Task, driver: Driver, seed: int) -> Steps[None]:
    random = Random(seed)
    for _ in range(12):
        yield from driver.populate(k, t, random.randrange(8))


def _race(seed: int, *defects: str) -> tuple[Kernel, Driver]:
    k = Kernel(TINY, checks=True, defects=defects)
    mm = k.new_mm("p0")
    driver = Driver(mm, dict.fromkeys(range(12), 0))
    run_through(notifier.insert(k, k.task("insert"), driver.sub))
    scheduler = Scheduler(seed)
    for n in range(2):
        scheduler.spawn(t := k.task(f"core {n}", n), _changer(k, t, driver, seed * 7 + n))
        scheduler.spawn(t := k.task(f"driver {n}", n), _filler(k, t, driver, seed * 7 + n))
    assert scheduler.run(50_000)
    scheduler.outcomes()
    return k, driver


@pytest.mark.parametrize("seed", range(20))
def test_a_device_never_has_what_the_cpu_no_longer_has(seed: int) -> None:
    k, driver = _race(seed)
    assert driver.wrong == []
    assert all(driver.cpu[page] == seen for page, seen in driver.table.items())
    assert driver.calls >= 15
    assert k.findings == []


@pytest.mark.parametrize(
    "defect", ["notifier-at-end", "notifier-calls-only-first", "notifier-reader-does-not-wait", "notifier-stays-even"]
)
def test_each_broken_rule_shows(defect: str) -> None:
    def shows(seed: int) -> bool:
        try:
            _, driver = _race(seed, defect)
        except Stuck:  # a reader sleeps for ever
            return True
        return bool(driver.wrong or any(driver.cpu[p] != seen for p, seen in driver.table.items()))

    if defect == "notifier-calls-only-first":
        assert not any(shows(seed) for seed in range(10)), "there is only one subscription here"
    else:
        assert any(shows(seed) for seed in range(40))


def test_a_sleeping_reader_is_woken() -> None:
    def waits_for_ever(seed: int) -> bool:
        try:
            _race(seed, "notifier-end-wakes-nobody")
        except Stuck as stuck:
            return "notifier sequence" in str(stuck)
        return False

    assert any(waits_for_ever(seed) for seed in range(40))


def test_all_overlapping_subscriptions_are_called() -> None:
    for defects, called in (([], [1, 1, 0]), (["notifier-calls-only-first"], [1, 0, 0])):
        k = Kernel(TINY, defects=defects)
        mm, t = k.new_mm("p0"), k.task("t")
        drivers = [Driver(mm, {}) for _ in range(3)]
        drivers[2].sub.start, drivers[2].sub.end = 32, 64
        for driver in drivers:
            run_through(notifier.insert(k, t, driver.sub))
        event = Event(CLEAR, 0, 8)
        run_through(notifier.start(k, t, mm, event))
        run_through(notifier.end(k, t, mm, event))
        assert [d.calls for d in drivers] == called


def test_the_oom_reaper_passes_over_what_a_driver_holds() -> None:
    m = Machine()
    m.map(4, BASE)
    m.map(4, BASE + 64)
    for page in (BASE, BASE + 64):
        m.store(page, b"abcd")
    first = Driver(m.mm, {})
    first.sub.start, first.sub.end = BASE, BASE + 4
    m.run(lambda k, t: notifier.insert(k, t, first.sub))
    other = m.k.task("driver's work")
    run_through(first.lock.acquire(other))
    assert not run_through(oom_reap(m.k, m.tasks[0], m.mm))
    assert (bool(m.entry(BASE)), bool(m.entry(BASE + 64))) == (True, False)
    first.lock.release(other)
    assert m.run(oom_reap, m.mm)
    assert not m.entry(BASE)
    assert m.load(BASE) == "SIGBUS", "nothing comes back into a reaped address space"
    m.done()


def _with_driver(*defects: str) -> tuple[Kernel, Task, Driver]:
    k = Kernel(TINY, defects=defects)
    t = k.task("t")
    driver = Driver(k.new_mm("p0"), {})
    run_through(notifier.insert(k, t, driver.sub))
    return k, t, driver


def test_a_callback_that_may_not_sleep_fails_the_start_and_leaves_nothing() -> None:
    k, t, driver = _with_driver()
    run_through(driver.lock.acquire(other := k.task("other")))
    event = Event(CLEAR, 0, 8, blockable=False)
    assert not run_through(notifier.start(k, t, driver.mm, event))
    subs = notifier.subscriptions(driver.mm)
    assert (subs.active, subs.seq % 2) == (0, 0)
    driver.lock.release(other)
    assert run_through(notifier.start(k, t, driver.mm, event))


def test_forgotten_bookkeeping_of_a_failed_start_shows() -> None:
    k, t, driver = _with_driver("notifier-counter-leak")
    run_through(driver.lock.acquire(k.task("other")))
    run_through(notifier.start(k, t, driver.mm, Event(CLEAR, 0, 8, blockable=False)))
    assert notifier.subscriptions(driver.mm).active == 1
    k, t, driver = _with_driver("notifier-ignores-failure")
    driver.table[3] = 1
    run_through(driver.lock.acquire(k.task("other")))
    assert run_through(notifier.start(k, t, driver.mm, Event(CLEAR, 0, 8, blockable=False)))
    assert driver.table  # the caller believes that it is gone


def test_sequence_numbers() -> None:
    """A subscription's sequence is odd; the mm's is odd exactly while an invalidation that hit somebody runs."""
    k, t, driver = _with_driver()
    subs = notifier.subscriptions(driver.mm)
    assert (subs.seq, driver.sub.seq) == (2, 1)
    seq = run_through(notifier.read_begin(k, t, driver.sub))
    hit, missed = Event(MIGRATE, 0, 8, owner=1), Event(CLEAR, 100, 200)
    run_through(notifier.start(k, t, driver.mm, missed))
    assert subs.seq == 2
    run_through(notifier.end(k, t, driver.mm, missed))
    run_through(notifier.start(k, t, driver.mm, hit))
    assert (subs.seq, driver.sub.seq) == (3, 3)
    assert notifier.read_retry(driver.sub, seq)
    with pytest.raises(Stuck):
        run_through(notifier.read_begin(k, t, driver.sub))
    run_through(notifier.end(k, t, driver.mm, hit))
    assert subs.seq == 4
    assert run_through(notifier.read_begin(k, t, driver.sub)) == 3


def test_an_insert_during_an_invalidation_is_put_off() -> None:
    k, t, driver = _with_driver()
    event = Event(CLEAR, 0, 8)
    run_through(notifier.start(k, t, driver.mm, event))
    late = Driver(driver.mm, {})
    run_through(notifier.insert(k, t, late.sub))
    subs = notifier.subscriptions(driver.mm)
    assert late.sub not in subs.subs
    assert late.sub.seq == subs.seq  # a reader has to wait for the end
    run_through(notifier.end(k, t, driver.mm, event))
    assert late.sub in subs.subs


def _removal(seed: int, *defects: str) -> Kernel:
    k = Kernel(TINY, defects=defects)
    t = k.task("t")
    driver = Driver(k.new_mm("p0"), dict.fromkeys(range(12), 0))
    run_through(notifier.insert(k, t, driver.sub))
    scheduler = Scheduler(seed)
    scheduler.spawn(core := k.task("core"), _changer(k, core, driver, seed))
    scheduler.spawn(driver_task := k.task("driver", 1), notifier.remove(k, driver_task, driver.sub))
    assert scheduler.run(20_000)
    scheduler.outcomes()
    assert driver.sub.freed
    assert driver.sub not in notifier.subscriptions(driver.mm).subs
    return k


def test_a_removed_subscription_is_never_touched_again() -> None:
    assert not any(_removal(seed).findings for seed in range(60))
    found = [f for seed in range(300) for f in _removal(seed, "notifier-remove-early").findings]
    assert found
    assert {f.check for f in found} == {"uaf"}
