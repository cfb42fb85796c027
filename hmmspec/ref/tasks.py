"""Tasks, what they wait for, and locks that are really held.

An operation of the kernel is a generator: it yields at every point where the real one can be interrupted.  What it
yields is either a `str`, the name of the point (the task can go on at once), or a `Waitable`: the task sleeps until
that is woken, and then looks again.  Whoever drives it (`schedule.py`) decides what happens between two yields; what
stands between two yields is atomic.

NOTE(lock-order): mmap_lock -> folio lock -> rmap lock -> notifier (driver mutex) -> page-table lock.  Page-table locks
are spinlocks: a task that holds one must not wait for anything but another spinlock.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, TypeAlias, TypeVar

if TYPE_CHECKING:
    from hmmspec.ref.frames import Frames

T = TypeVar("T")
Point: TypeAlias = "str | Waitable"
Steps: TypeAlias = Generator[Point, None, T]


class Task:
    """One thread of execution: a thread of a program on a CPU, or a worker.  `id` is positive and names lock owners."""

    __slots__ = ("cpu", "held", "id", "name", "signal", "spinning", "waits", "wake")

    def __init__(self, number: int, name: str, cpu: int = 0) -> None:
        self.id, self.name, self.cpu = number, name, cpu
        self.held: list[object] = []  # locks, innermost last (I10: empty after each operation)
        self.spinning = 0  # how many spinlocks it holds
        self.signal = False  # a fatal signal is pending
        self.wake: Callable[[Task], None] | None = None  # set by the scheduler while the task sleeps
        self.waits: Waitable | None = None

    def __repr__(self) -> str:
        return f"{self.name} (cpu {self.cpu})"


class Waitable:
    """Something a task can sleep on.  A waiter holds nothing of it: it is woken, and looks again."""

    __slots__ = ("name", "waiters")
    spin = False

    def __init__(self, name: str) -> None:
        self.name = name
        self.waiters: list[Task] = []

    def wake_all(self) -> None:
        if self.waiters:
            sleeping, self.waiters = self.waiters, []
            for task in sleeping:
                if task.wake is not None:
                    task.wake(task)

    def holders(self) -> list[Task]:
        """The tasks that a waiter waits for (for the report of a deadlock)."""
        return []

    def __repr__(self) -> str:
        return self.name


class Mutex(Waitable):
    """A lock with one owner; `spin`: a spinlock."""

    __slots__ = ("owner", "spin")

    def __init__(self, name: str, spin: bool = False) -> None:
        super().__init__(name)
        self.owner: Task | None = None
        self.spin = spin

    def acquire(self, t: Task) -> Steps[None]:
        yield self.name
        while self.owner is not None:
            yield self
        self.owner = t
        t.held.append(self)
        t.spinning += self.spin

    def try_acquire(self, t: Task) -> bool:
        if self.owner is not None:
            return False
        self.owner = t
        t.held.append(self)
        t.spinning += self.spin
        return True

    def release(self, t: Task) -> None:
        if self.owner is not t:
            raise Misuse(f"{t} releases {self.name}, which {self.owner or 'nobody'} holds")
        self.owner = None
        t.held.remove(self)
        t.spinning -= self.spin
        self.wake_all()

    def holders(self) -> list[Task]:
        return [self.owner] if self.owner else []


class RwLock(Waitable):
    """mmap_lock: many readers or one writer.  A waiting writer keeps new readers out, as the kernel's rwsem does."""

    __slots__ = ("readers", "writer", "writers_waiting")

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.writer: Task | None = None
        self.readers: list[Task] = []
        self.writers_waiting = 0

    def read(self, t: Task) -> Steps[None]:
        yield self.name
        while self.writer is not None or self.writers_waiting:
            yield self
        self.readers.append(t)
        t.held.append(self)

    def try_read(self, t: Task) -> bool:
        if self.writer is not None or self.writers_waiting:
            return False
        self.readers.append(t)
        t.held.append(self)
        return True

    def write(self, t: Task) -> Steps[None]:
        yield self.name
        self.writers_waiting += 1
        try:
            while self.writer is not None or self.readers:
                yield self
        finally:
            self.writers_waiting -= 1
        self.writer = t
        t.held.append(self)

    def release(self, t: Task) -> None:
        """Give up either mode."""
        if self.writer is t:
            self.writer = None
        elif t in self.readers:
            self.readers.remove(t)
        else:
            raise Misuse(f"{t} releases {self.name}, which it does not hold")
        t.held.remove(self)
        self.wake_all()

    def held_by(self, t: Task) -> bool:
        return self.writer is t or t in self.readers

    def holders(self) -> list[Task]:
        return [self.writer] if self.writer else list(self.readers)


class FolioLocks:
    """The lock bit of every folio: the owner's id is in `frames.lock[head]`, waiters are here."""

    __slots__ = ("frames", "queues", "tasks")

    def __init__(self, frames: Frames, tasks: dict[int, Task]) -> None:
        self.frames, self.tasks = frames, tasks
        self.queues: dict[int, FolioQueue] = {}

    def queue(self, head: int) -> FolioQueue:
        found = self.queues.get(head)
        if found is None:
            found = self.queues[head] = FolioQueue(self, head)
        return found

    def lock(self, t: Task, head: int) -> Steps[None]:
        """Sleep until the folio is unlocked, and lock it.  The caller holds a reference."""
        yield "folio lock"
        while self.frames.lock[head]:
            yield self.queue(head)
        self.take(t, head)

    def take(self, t: Task, head: int) -> None:
        """Lock a folio that is not locked (one that was just allocated)."""
        if self.frames.lock[head]:
            raise Misuse(f"{t} locks folio {head}, which is locked")
        self.frames.lock[head] = t.id
        t.held.append(head)

    def trylock(self, t: Task, head: int) -> bool:
        if self.frames.lock[head]:
            return False
        self.take(t, head)
        return True

    def unlock(self, t: Task, head: int) -> None:
        if self.frames.lock[head] != t.id:
            raise Misuse(f"{t} unlocks folio {head}, which {self.tasks.get(self.frames.lock[head], 'nobody')} locked")
        self.frames.lock[head] = 0
        t.held.remove(head)
        found = self.queues.pop(head, None)
        if found is not None:
            found.wake_all()


class FolioQueue(Waitable):
    """Who waits for one folio's lock bit; without a reference of the folio (ffa65753c431)."""

    __slots__ = ("head", "locks")

    def __init__(self, locks: FolioLocks, head: int) -> None:
        super().__init__(f"folio {head}")
        self.head, self.locks = head, locks

    def holders(self) -> list[Task]:
        owner = self.locks.tasks.get(self.locks.frames.lock[self.head])
        return [owner] if owner else []


class Misuse(Exception):
    """The kernel used a lock, a reference or an entry as nobody may: a defect of the kernel, never bad input."""
