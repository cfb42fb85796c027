"""Who runs next: the scheduler of the stepped driver, and what makes operations fail.

`run_through` drives one operation to its end with nobody else running.  `Scheduler` interleaves several, at every point
where they yield, by a seed: the same seed gives the same run.  A task that waits is not run until it is woken; when all
wait, that is a deadlock, and the report says who waits for what and who holds it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random
from typing import Any, Protocol, TypeVar

from hmmspec.ref.tasks import Point, Steps, Task, Waitable

T = TypeVar("T")

FAILURES = {
    "alloc": "a page of system memory cannot be had",
    "device-alloc": "a page of device memory cannot be had",
    "table": "a page table cannot be allocated",
    "memcg": "the memcg refuses the charge",
    "trylock": "somebody else happens to hold the folio lock that is only tried",
    "isolate": "a page cannot be taken off the LRU",
    "copy": "a DMA copy ends with an error",
    "signal": "a fatal signal is pending at a point that looks for one",
    "swap": "no swap slot is free",
}


class Injector:
    """What fails: by chance (`rates`: failure -> chance of each), or the next so many times (`once`).  By a seed."""

    def __init__(self, seed: int = 0, rates: dict[str, float] | None = None) -> None:
        self._random = Random(seed)
        self.rates = dict(rates or {})
        self.pending: dict[str, int] = {}
        self.done: dict[str, int] = {}  # how often each failed

    def once(self, what: str, times: int = 1) -> None:
        """Let the next `times` of them fail."""
        if what not in FAILURES:
            raise ValueError(f"nothing fails by the name of {what!r}; there are: {', '.join(FAILURES)}")
        self.pending[what] = self.pending.get(what, 0) + times

    def fails(self, what: str) -> bool:
        if self.pending and (left := self.pending.get(what, 0)):
            if left == 1:
                del self.pending[what]
            else:
                self.pending[what] = left - 1
        elif not (self.rates and self._random.random() < self.rates.get(what, 0.0)):
            return False
        self.done[what] = self.done.get(what, 0) + 1
        return True


class Stuck(Exception):
    """No task can go on.  `lines` says who waits for what and who holds it."""

    def __init__(self, message: str, lines: list[str]) -> None:
        super().__init__("\n".join([message, *lines]))
        self.lines = lines


def run_through(steps: Steps[T], after: Callable[[], None] | None = None, limit: int = 1 << 60) -> T:
    """Drive one operation to its end with nobody else running; `after` is called at every yield.

    Raises Stuck where it would have to wait, since nobody could wake it, and where it yields `limit` times.
    """
    try:
        for _ in range(limit):
            point = next(steps)
            if point.__class__ is not str:
                abandon(steps)
                raise Stuck(f"nobody can wake who waits for {point}", [_told(point)])
            if after is not None:
                after()
    except StopIteration as end:
        value: T = end.value
        return value
    abandon(steps)
    raise Stuck(f"no end after {limit} steps", [])


def abandon(steps: Steps[Any]) -> None:
    """Give up an operation that cannot end.  What it wants to do at its end, it may not do any more."""
    with suppress(Exception):
        steps.close()


@dataclass(eq=False)
class Job:
    """A task in a scheduler: what it still does, and what came out."""

    task: Task
    steps: Steps[Any]
    number: int = 0  # in the order in which they were spawned
    done: bool = False
    result: Any = None
    error: BaseException | None = None
    worker: bool = False  # a kernel worker: runs only when its CPU is free, unless the kernel is preemptible
    on_end: list[Waitable] = field(default_factory=list)


class Order(Protocol):
    """Who runs next (orders.py).  `next` chooses among those that can run, `last` being who ran last, if it still can;
    `passed` hears of each point that a task comes to."""

    def next(self, ready: Sequence[Job], last: Job | None) -> Job: ...

    def passed(self, job: Job, point: str) -> None: ...


class Scheduler:
    """Interleaves tasks at their points, by a seed.

    `preempt` False: a worker of a CPU runs only while no other task can run on that CPU (a kernel without preemption,
    where a task that spins keeps workers from running; b570f37a2ce4).  `stay` is the chance that the task that ran
    last goes on: 0 is the wildest interleaving.  `order` decides instead, where it is given (and all may preempt).
    `after` is called after every step (checks).
    """

    def __init__(
        self,
        seed: int = 0,
        *,
        stay: float = 0.0,
        preempt: bool = True,
        order: Order | None = None,
        after: Callable[[], None] | None = None,
        observe: Callable[[Task, str], None] | None = None,
    ) -> None:
        self._random = Random(seed)
        self.stay, self.preempt, self.after, self.observe = stay, preempt, after, observe
        self.order = order
        self._spawned = 0
        self.jobs: dict[int, Job] = {}
        self.ready: list[Job] = []
        self.yields = 0

    def spawn(self, task: Task, steps: Steps[Any], worker: bool = False) -> Job:
        job = Job(task, steps, self._spawned, worker=worker)
        self._spawned += 1
        self.jobs[task.id] = job
        task.wake = self._wake
        self.ready.append(job)
        return job

    def _wake(self, task: Task) -> None:
        task.waits = None
        self.ready.append(self.jobs[task.id])

    def run(self, limit: int | None = None) -> bool:
        """Until all are done (True), or `limit` yields later (False).  Raises Stuck on a deadlock."""
        random, ready, after, observe, order = self._random.random, self.ready, self.after, self.observe, self.order
        stop = None if limit is None else self.yields + limit
        last: Job | None = None
        while ready:
            if stop is not None and self.yields >= stop:
                return False
            if not self.preempt:
                job = self._without_preemption()
            elif order is not None:
                job = order.next(ready, last) if len(ready) > 1 else ready[0]
            elif last is not None and self.stay and random() < self.stay:
                job = last
            else:
                job = ready[int(random() * len(ready))] if len(ready) > 1 else ready[0]
            last = job
            self.yields += 1
            try:
                point = next(job.steps)
            except StopIteration as end:
                self._end(job, end.value, None)
                last = None
            except Exception as error:  # noqa: BLE001 - it belongs to its job; the others go on
                self._end(job, None, error)
                last = None
            else:
                if point.__class__ is not str:
                    self._sleep(job, point)
                    last = None
                else:
                    if order is not None:
                        order.passed(job, point)
                    if observe is not None:
                        observe(job.task, point)
            if after is not None:
                after()
        waiting = [job for job in self.jobs.values() if not job.done]
        if waiting:
            raise Stuck("deadlock", [line for job in waiting for line in _blocked(job.task)])
        return True

    def _without_preemption(self) -> Job:
        busy = {job.task.cpu for job in self.ready if not job.worker}
        allowed = [job for job in self.ready if not job.worker or job.task.cpu not in busy] or self.ready
        return allowed[int(self._random.random() * len(allowed))]

    def _sleep(self, job: Job, point: Point) -> None:
        assert isinstance(point, Waitable)
        job.task.waits = point
        self.ready.remove(job)
        point.waiters.append(job.task)

    def _end(self, job: Job, value: object, error: BaseException | None) -> None:
        job.done, job.result, job.error = True, value, error
        job.task.wake = None
        self.ready.remove(job)
        for waitable in job.on_end:
            waitable.wake_all()
        if job.worker:
            del self.jobs[job.task.id]

    def abandon(self) -> None:
        """Give up all that has not ended."""
        for job in self.jobs.values():
            if not job.done:
                abandon(job.steps)

    def outcomes(self) -> list[Any]:
        """The results of all jobs in the order in which they were spawned; raises the first error among them."""
        for job in self.jobs.values():
            if job.error is not None:
                raise job.error
        return [job.result for job in self.jobs.values()]


def _told(point: Point) -> str:
    holders = point.holders() if isinstance(point, Waitable) else []
    return f"{point} is held by {', '.join(map(str, holders)) or 'nobody'}"


def _blocked(task: Task) -> Iterable[str]:
    yield f"{task} waits for {task.waits}"
    if task.waits is not None:
        yield f"    {_told(task.waits)}"
