"""The scheduler: locks exclude, the same seed gives the same run, deadlocks are told, workers wait for their CPU."""

from __future__ import annotations

import pytest

from hmmspec.ref.schedule import FAILURES, Injector, Scheduler, Stuck, run_through
from hmmspec.ref.state import Config, Kernel
from hmmspec.ref.tasks import Misuse, Mutex, RwLock, Steps, Task

TINY = Config(cpus=2, system_pages=2048, device_pages=0, swap_pages=16, page_tables=8)


def _counter(t: Task, lock: Mutex, cell: list[int], turns: int) -> Steps[int]:
    for _ in range(turns):
        yield from lock.acquire(t)
        seen = cell[0]
        yield "in between"
        cell[0] = seen + 1
        lock.release(t)
    return t.id


def _run(seed: int, locked: bool = True) -> tuple[int, list[str], list[object]]:
    k, cell, trace = Kernel(TINY), [0], []
    lock = Mutex("counter")
    scheduler = Scheduler(seed, observe=lambda t, point: trace.append(f"{t.name} {point}"))
    for n in range(3):
        t = k.task(f"t{n}")
        scheduler.spawn(t, _counter(t, lock if locked else Mutex("own"), cell, 20))
    assert scheduler.run()
    return cell[0], trace, scheduler.outcomes()


def test_a_mutex_excludes_and_without_it_updates_are_lost() -> None:
    assert {_run(seed)[0] for seed in range(20)} == {60}
    assert min(_run(seed, locked=False)[0] for seed in range(20)) < 60


def test_the_seed_decides_everything() -> None:
    assert _run(5) == _run(5)
    assert _run(5)[1] != _run(6)[1]
    assert _run(5)[2] == [1, 2, 3]


def _in_order(t: Task, locks: list[Mutex]) -> Steps[None]:
    for lock in locks:
        yield from lock.acquire(t)
    for lock in locks:
        lock.release(t)


def test_a_deadlock_is_told_with_who_holds_what() -> None:
    k = Kernel(TINY)
    one, two = Mutex("folio 7"), Mutex("mmap_lock")
    for seed in range(50):
        scheduler = Scheduler(seed)
        for name, locks in (("migrator", [one, two]), ("fault", [two, one])):
            t = k.task(name)
            scheduler.spawn(t, _in_order(t, locks))
        try:
            scheduler.run()
        except Stuck as stuck:
            text = str(stuck)
            assert "migrator (cpu 0) waits for mmap_lock" in text
            assert "mmap_lock is held by fault (cpu 0)" in text
            return
    raise AssertionError("no seed ran into the deadlock")


def test_alone_nobody_waits() -> None:
    k = Kernel(TINY)
    lock = Mutex("mutex")
    run_through(lock.acquire(k.task("a")))
    with pytest.raises(Stuck, match="mutex is held by a"):
        run_through(lock.acquire(k.task("b")))


def test_an_operation_that_never_ends_is_ended() -> None:
    ended: list[str] = []

    def spinning() -> Steps[None]:
        try:
            while True:
                yield "again"
        finally:
            ended.append("closed")
            yield "nobody listens any more"

    with pytest.raises(Stuck, match="no end after 50 steps"):
        run_through(spinning(), limit=50)
    assert ended == ["closed"]


def test_readers_share_and_a_waiting_writer_goes_first() -> None:
    k, lock = Kernel(TINY), RwLock("mmap_lock")
    a, b, c = (k.task(n) for n in "abc")
    run_through(lock.read(a))
    run_through(lock.read(b))
    writer = lock.write(c)
    next(writer)
    assert next(writer) is lock
    assert not lock.try_read(b)
    lock.release(a)
    lock.release(b)
    with pytest.raises(StopIteration):
        next(writer)
    assert lock.writer is c
    with pytest.raises(Misuse):
        lock.release(a)


def test_a_worker_waits_for_its_cpu_unless_the_kernel_is_preemptible() -> None:
    """A task that spins without sleeping keeps a worker of its CPU from running for ever (b570f37a2ce4)."""

    def spins(done: list[bool]) -> Steps[None]:
        while not done:
            yield "trylock failed"

    def works(done: list[bool]) -> Steps[None]:
        yield "drain work"
        done.append(True)

    for preempt, worker_cpu, ends in ((False, 0, False), (False, 1, True), (True, 0, True)):
        k, done = Kernel(TINY), list[bool]()
        scheduler = Scheduler(1, preempt=preempt)
        scheduler.spawn(k.task("spinner", 0), spins(done))
        scheduler.spawn(k.task("kworker", worker_cpu), works(done), worker=True)
        assert scheduler.run(500) is ends


def test_an_error_belongs_to_its_task_and_the_others_go_on() -> None:
    def fails() -> Steps[None]:
        yield "soon"
        raise ValueError("broken")

    def works() -> Steps[str]:
        yield "here"
        return "done"

    k, scheduler = Kernel(TINY), Scheduler(0)
    scheduler.spawn(k.task("a"), fails())
    good = scheduler.spawn(k.task("b"), works())
    assert scheduler.run()
    assert good.result == "done"
    with pytest.raises(ValueError, match="broken"):
        scheduler.outcomes()


def test_injected_failures() -> None:
    injector = Injector(3, {"copy": 0.5})
    draws = [injector.fails("copy") for _ in range(200)]
    assert 60 < sum(draws) < 140
    again = Injector(3, {"copy": 0.5})
    assert draws == [again.fails("copy") for _ in range(200)]
    injector.once("alloc", 2)
    assert [injector.fails("alloc") for _ in range(4)] == [True, True, False, False]
    assert injector.done["alloc"] == 2
    with pytest.raises(ValueError, match="nothing fails by the name of 'aloc'"):
        injector.once("aloc")
    assert set(injector.done) <= set(FAILURES)
