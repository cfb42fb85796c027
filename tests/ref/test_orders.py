"""Orders of races: each is decided by its seed alone, gives everybody a turn, and does what it says."""

from __future__ import annotations

from random import Random

import pytest

from hmmspec.ref.orders import KINDS, Held, Hold, Priorities, Rotation, kind_of, order_from
from hmmspec.ref.schedule import Order, Scheduler
from hmmspec.ref.state import Config, Kernel
from hmmspec.ref.tasks import Mutex, Steps, Task

TINY = Config(cpus=2, system_pages=2048, device_pages=0, swap_pages=16, page_tables=8)


def counting(name: str, count: int, point: str = "step") -> Steps[str]:
    for _ in range(count):
        yield point
    return name


def run(order: Order | None, *works: Steps[str], seed: int = 1) -> list[str]:
    """The names of who came to a point, in order."""
    k = Kernel(TINY)
    trace: list[str] = []
    scheduler = Scheduler(seed, order=order, observe=lambda t, point: trace.append(f"{t.name} {point}"))
    for number, work in enumerate(works):
        scheduler.spawn(k.task(f"t{number}"), work)
    assert scheduler.run(100_000)
    assert len(scheduler.outcomes()) == len(works)
    return trace


@pytest.mark.parametrize("number", range(8))
def test_the_same_seed_is_the_same_order_and_all_come_to_an_end(number: int) -> None:
    first, second = (
        run(order_from(Random(7), 3, number), *(counting(str(n), 30, f"point {n}") for n in range(3))) for _ in range(2)
    )
    assert first == second
    assert len(first) == 90


def test_few_numbers_in_a_row_give_every_kind() -> None:
    kinds = {type(order_from(Random(1), 2, number)) for number in range(5)}
    assert kinds == {type(None), Held, Rotation, Priorities}


def test_who_is_held_stands_still_while_the_others_go_on() -> None:
    hold = Hold(job=0, kind=kind_of("window"), nth=2, span=20)

    def held() -> Steps[str]:
        yield "window"
        yield "window"
        yield "after"
        return "held"

    trace = run(Held(Random(3), [hold]), held(), counting("other", 60))
    stopped = [i for i, what in enumerate(trace) if what == "t0 window"][1]
    after = trace.index("t0 after")
    assert trace[stopped + 1 : stopped + 20] == ["t1 step"] * 19
    assert after > stopped + 19


def test_who_is_held_goes_on_when_nobody_else_can() -> None:
    hold = Hold(job=0, kind=kind_of("window"), nth=1, span=1_000_000)
    assert run(Held(Random(3), [hold]), counting("held", 3, "window"), counting("other", 2)).count("t0 window") == 3


def test_rotation_goes_round() -> None:
    assert (
        run(Rotation(2), counting("a", 4), counting("b", 4))[:8]
        == ["t0 step"] * 2 + ["t1 step"] * 2 + ["t0 step"] * 2 + ["t1 step"] * 2
    )


def test_priorities_let_nobody_spin_for_ever() -> None:
    k = Kernel(TINY)
    lock = Mutex("lock")

    def spinning(t: Task) -> Steps[str]:
        while not lock.try_acquire(t):
            yield "busy"
        lock.release(t)
        return "got it"

    def owner(t: Task) -> Steps[str]:
        assert lock.try_acquire(t)
        yield "owns"
        yield "owns"
        lock.release(t)
        return "gave it up"

    for seed in range(10):
        scheduler = Scheduler(seed, order=Priorities(Random(seed), 1, 50))
        for number, work in enumerate((owner, spinning, spinning)):
            task = k.task(f"t{number}")
            scheduler.spawn(task, work(task))
        assert scheduler.run(10_000)


def test_kinds_are_few_and_many_names_are_apart() -> None:
    names = ["ptl", "folio lock", "notifier sequence", "unlocked before the flush", "zapped", "pte written"]
    assert all(0 <= kind_of(name) < KINDS for name in names)
    assert len({kind_of(name) for name in names}) > 3
