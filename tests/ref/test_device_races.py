"""Several CPUs and devices at once: nothing is lost, nothing is left over, whatever the order and whatever fails.

Two threads of the program each keep a word of their own in every page, and always read what they wrote last.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from hmmspec.ref import access, checks, testdev
from hmmspec.ref.device import Binding
from hmmspec.ref.errors import Errno
from hmmspec.ref.exit import exit_mm
from hmmspec.ref.fork import fork
from hmmspec.ref.gup import gup, release
from hmmspec.ref.madvise import madvise
from hmmspec.ref.schedule import FAILURES, Scheduler
from hmmspec.ref.state import Config, Kernel
from hmmspec.ref.tasks import Steps, Task
from tests.ref.devices import Devices
from tests.ref.machine import BASE

PAGES = 5
COMMANDS = ("read", "migrate_to_device", "migrate_to_system", "snapshot", "make_exclusive", "check_exclusive")
SMALL = Config(cpus=2, system_pages=1536, device_pages=1024, swap_pages=64, page_tables=32)
RATES = dict.fromkeys(FAILURES, 0.02) | {"alloc": 0.004, "table": 0.004, "signal": 0.0}

Work = Callable[[Kernel, Task], Steps[None]]


def program(m: Devices, rng: Random, slot: int, steps: int) -> Work:
    """A thread of the program: stores and loads of its own word."""

    def work(k: Kernel, t: Task) -> Steps[None]:
        mine = dict.fromkeys(range(BASE, BASE + PAGES), 0)
        for n in range(1, steps + 1):
            vpn = BASE + rng.randrange(PAGES)
            if rng.random() < 0.5:
                answer: Any = yield from access.store(k, t, m.mm, vpn, n.to_bytes(8, "little"), 8 * slot)
                mine[vpn] = n if answer == "ok" else mine[vpn]
            else:
                answer = yield from access.load(k, t, m.mm, vpn, 8 * slot, 8)
                if isinstance(answer, bytes):
                    assert int.from_bytes(answer, "little") == mine[vpn], f"page {vpn} at step {n} of {t}"
            assert answer in ("ok", "SIGBUS", "SIGKILL") or isinstance(answer, bytes)

    return work


def device(b: Binding, rng: Random, steps: int) -> Work:
    def work(k: Kernel, t: Task) -> Steps[None]:
        for _ in range(steps):
            first = rng.randrange(PAGES)
            count = rng.randrange(1, PAGES - first + 1)
            try:
                if rng.random() < 0.1:
                    yield from testdev.release_memory(k, t, b)
                else:
                    yield from getattr(testdev, rng.choice(COMMANDS))(k, t, b, BASE + first, count)
            except Errno as error:
                if error.name not in ("ENOENT", "EPERM", "EBUSY", "ENOMEM", "EIO", "EFAULT"):
                    raise

    return work


def neighbour(m: Devices, rng: Random, steps: int) -> Work:
    """References, forks and reclaim."""

    def work(k: Kernel, t: Task) -> Steps[None]:
        for n in range(steps):
            try:
                match rng.randrange(4):
                    case 0:
                        pins = rng.random() < 0.5
                        held = yield from gup(k, t, m.mm, BASE + rng.randrange(PAGES), 1, pin=pins, name=f"n{n}")
                        yield "held"
                        release(k, held, f"n{n}", pins)
                    case 1:
                        child = yield from fork(k, t, m.mm, f"child{n}")
                        yield from access.store(k, t, child, BASE + rng.randrange(PAGES), b"x" * 8, 4000)
                        yield from exit_mm(k, t, child)
                    case 2:
                        yield from madvise(k, t, m.mm, BASE, PAGES, "pageout")
                    case _:
                        yield from madvise(k, t, m.mm, BASE + PAGES, 2, "dontneed")
            except Errno as error:
                if error.name not in ("EBUSY", "ENOMEM", "EFAULT", "EINTR"):
                    raise

    return work


def race(m: Devices, seed: int, works: list[Work], **options: Any) -> Scheduler:
    """Run all of them interleaved, and look at the invariants after every step."""
    k = m.k
    tasks = [k.task(f"task{i}", i % 2) for i in range(len(works))]
    scheduler = k.workers = Scheduler(seed, after=lambda: checks.check(k), **options)
    for t, work in zip(tasks, works, strict=True):
        scheduler.spawn(t, work(k, t))
    assert scheduler.run(200_000), "it ends"
    scheduler.outcomes()
    k.workers = None
    assert all(not t.held for t in tasks)
    return scheduler


@pytest.mark.parametrize("profile", ["latest", "6.12"])
@pytest.mark.parametrize("private", [True, False], ids=["private", "coherent"])
@pytest.mark.parametrize("failing", [False, True], ids=["sound", "failing"])
@pytest.mark.parametrize("seed", range(3))
def test_everything_at_once(profile: str, private: bool, failing: bool, seed: int) -> None:
    m = Devices(private, SMALL, profile_name=profile, seed=seed)
    m.map(PAGES + 2)
    m.k.inject.rates = dict(RATES) if failing else {}
    rng = Random(seed)
    works = [program(m, rng, 0, 20), program(m, rng, 1, 20), device(m.b[0], rng, 8), device(m.b[1], rng, 8)]
    race(m, seed, [*works, neighbour(m, rng, 8)], stay=rng.choice((0.0, 0.5, 0.9)))
    m.k.inject.rates = {}
    m.finish()


def test_the_same_seed_gives_the_same_run() -> None:
    def once() -> tuple[int, Any]:
        m = Devices(True, SMALL, seed=3)
        m.map(PAGES + 2)
        rng = Random(3)
        s = race(m, 3, [program(m, rng, 0, 15), device(m.b[0], rng, 6), neighbour(m, rng, 5)])
        return s.yields, m.k.snapshot()

    assert once() == once()


def faulting(m: Devices, private_pages: int = 1) -> list[Work]:
    """Two threads that read the same device page."""

    def reader(k: Kernel, t: Task) -> Steps[None]:
        for i in range(private_pages):
            got = yield from access.load(k, t, m.mm, BASE + i)
            assert isinstance(got, bytes)

    return [reader, reader]


@pytest.mark.parametrize(
    "profile", ["latest", "latest-fault_sleeps", "latest-fault_trylocks", "latest-fault_trylocks-fault_sleeps"]
)
@pytest.mark.parametrize("seed", range(6))
def test_two_faults_on_one_page(profile: str, seed: int) -> None:
    m = Devices(True, SMALL, profile_name=profile)
    m.map(4)
    m.put(4)
    m.to_device(4)
    race(m, seed, faulting(m, 4))
    assert m.dev[0].memory.live == 0
    assert m.get(4) == [1, 2, 3, 4]
    m.finish()


def test_a_fault_that_holds_nothing_uses_freed_pages() -> None:
    """The first version of the fault: somewhere among a few orders it calls the driver for a page that was freed."""
    found = set()
    for seed in range(40):
        m = Devices(True, SMALL, profile_name="latest-fault_takes_reference")
        m.map(1)
        m.put(1)
        m.to_device(1)
        race(m, seed, [*faulting(m), *faulting(m)], stay=0.9)
        found |= {f.check for f in m.k.findings}
    assert "uaf" in found


def test_faults_that_do_not_lock_can_keep_each_other_busy() -> None:
    """The second version: an order exists in which two faults undo each other for as long as one likes; the next two
    versions end in that order, too."""
    rounds = {}
    for profile in ("latest-fault_trylocks", "latest-fault_sleeps", "latest"):
        m = Devices(True, SMALL, profile_name=profile)
        m.map(1)
        m.put(1)
        m.to_device(1)
        k = m.k
        k.line = line = Counting()
        tasks = [k.task(f"task{i}", i) for i in range(2)]
        running = [work(k, t) for work, t in zip(faulting(m), tasks, strict=True)]
        in_step(k, running)
        rounds[profile] = line.calls
    assert rounds["latest-fault_trylocks"] > 20
    assert rounds["latest-fault_sleeps"] <= 2
    assert rounds["latest"] <= 2


class Counting:
    """A cost line that counts migrations."""

    def __init__(self) -> None:
        self.calls = 0

    def charge(self, kind: Any, count: int = 1, size: int = 0, times: int = 1) -> int:
        self.calls += kind.name == "MIGRATE_CALL"
        return 0


def in_step(k: Kernel, running: list[Steps[None]], limit: int = 4000) -> None:
    """Each in turn does one step: nobody is ever ahead."""
    k.workers = Scheduler()
    steps, waiting = 0, {}
    while running and steps < limit:
        for work in list(running):
            steps += 1
            if (held := waiting.pop(work, None)) is not None and k.frames.lock[held]:
                waiting[work] = held
                continue
            try:
                point = next(work)
            except StopIteration:
                running.remove(work)
                continue
            if hasattr(point, "head"):
                waiting[work] = point.head
    for work in running:
        work.close()
    k.workers = None
