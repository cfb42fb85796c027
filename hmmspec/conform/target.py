"""What a kernel under test is to us: something that carries out commands and tells what came back.

The reference kernel is a target, a real Linux in a virtual machine is another.  A target is *asynchronous and partly
observable*: of each command we know when it was called and when it returned, and what it returned; what happens in
between, and in which order commands of several threads took effect, is for the specs to explain.

Whoever writes a target subclasses `Target` and fills in `_restart`, `_run` and, if it can, `_race`, `_finish`,
`findings` and `close`; the log is kept here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal

from hmmspec.conform import commands as c
from hmmspec.conform.commands import Command
from hmmspec.conform.results import Json, Result
from hmmspec.records import dataclass

DeviceKind = Literal["private", "coherent"]
Behaviour = bool | int | str


@dataclass(frozen=True)
class Event:
    """One line of a log: thread `thread` called `command`, or call number `call` returned `result`.

    Calls are numbered from 0 in the order in which they began.  A call whose process was killed meanwhile returns the
    error `SIGKILL`; one that never returned, since the target died, has no second event.  The order of events is the
    order in which they were *seen*: a call took effect somewhere between its two events.
    """

    call: int
    thread: str
    command: Command | None = None
    result: Result | None = None

    @property
    def is_call(self) -> bool:
        return self.command is not None

    def to_json(self) -> Json:
        """`{"event": "call", "call": 0, "thread": "t0", "command": {..}}`, or `"return"` with a `"result"`."""
        if self.command is not None:
            return {"event": "call", "call": self.call, "thread": self.thread, "command": self.command.to_json()}
        told = self.result.to_json() if self.result is not None else {}
        return {"event": "return", "call": self.call, "thread": self.thread, "result": told}


@dataclass(frozen=True)
class Finding:
    """Something wrong that the target itself or a check reported.

    check: who found it: `invariant`, `ledger`, `data`, `model`, `follower`, `scenario`, `leak`, `kernel` (a warning on
    the console), `hang`, `crash`; name: what in particular (`I1`, a spec's name); call: the command during which it
    was seen, if known.
    """

    check: str
    message: str
    name: str = ""
    call: int | None = None
    details: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.check}{f' {self.name}' if self.name else ''}: {self.message}"


class TargetLost(Exception):
    """The target died or hangs; what it logged before stands.  After `reset` it can be used again."""


class Target(ABC):
    """A kernel under test.

    name: how it is called on the command line and in reports.
    profile: the behaviours in which kernels differ, by name; scenarios and specs ask these, never for versions.
    capabilities: what it can do at all, among `CAPABILITIES`.
    devices: name -> kind of memory.
    atomic: whether one access to a page is one moment, so that nobody ever sees half of a page that was written.
    deterministic: whether the same programs with the same seeds give the same results.
    kernel: which kernel it is, as its version says (`6.12.117`); empty where it has none.
    log: the events since the last `reset`, in order.
    """

    name: str = ""
    profile: Mapping[str, Behaviour] = {}
    capabilities: frozenset[str] = frozenset()
    devices: Mapping[str, DeviceKind] = {}
    atomic: bool = False
    deterministic: bool = True
    kernel: str = ""

    def __init__(self) -> None:
        self.log: list[Event] = []
        self._calls = 0

    # ---- what clients call

    def reset(self, seed: int = 0) -> None:
        """A fresh system with the one process `p0` and an empty log.  `seed`: for whatever the target chooses."""
        self.log.clear()
        self._calls = 0
        self._restart(seed)

    def run(self, command: Command) -> Result:
        """Carry out one command; it has returned before this returns.  Raises TargetLost."""
        return self.run_all([command])[0]

    def run_all(self, commands: Iterable[Command]) -> list[Result]:
        """Carry out commands one after the other, in one thread.  Raises TargetLost."""
        told = list(commands)
        results = iter(self._run(told))
        out: list[Result] = []
        for command in told:
            call = self.called("main", command)
            result = next(results)
            self.returned(call, "main", result)
            out.append(result)
        return out

    def race(self, threads: Sequence[Sequence[Command]], seed: int = 0) -> list[list[Result | None]]:
        """Carry out several lists at once, each in a thread of its own (`t0`, `t1`, ..); None: it never returned.

        The commands of one list are of one process; lists may share a process.  Raises TargetLost.
        """
        return self._race(threads, seed)

    def renew(self) -> bool:
        """Let the next `reset` begin with a target on which nothing has run; False where every reset does.

        One that has gone wrong may stay so: what is found on it then need not be the doing of the program that runs.
        """
        return False

    def finish(self) -> tuple[Finding, ...]:
        """End all processes; then tell what is not back to base: device pages, references, locks, memory."""
        return self._finish()

    def findings(self) -> tuple[Finding, ...]:
        """What the target itself found wrong since the last `reset`: its debug checks, warnings on its console."""
        return ()

    def close(self) -> None:
        """Give everything back.  May be called twice."""
        return

    def supports(self, command: Command) -> bool:
        """Whether the target can do this at all; if not it returns `ENOSYS`."""
        return needs(command) <= self.capabilities and getattr(command, "device", "") in {"", *self.devices}

    def __enter__(self) -> Target:
        return self

    def __exit__(self, *args: object) -> None:
        self.close()

    # ---- what targets fill in

    @abstractmethod
    def _restart(self, seed: int) -> None: ...

    @abstractmethod
    def _run(self, commands: Sequence[Command]) -> Iterable[Result]:
        """One result for each command, in order; where the target dies half-way, those it had, then TargetLost."""

    def _race(self, threads: Sequence[Sequence[Command]], seed: int) -> list[list[Result | None]]:
        raise NotImplementedError(f"the target '{self.name}' runs no races")

    def _finish(self) -> tuple[Finding, ...]:
        return ()

    # ---- what targets call

    def called(self, thread: str, command: Command) -> int:
        """Log a call; returns its number."""
        call = self._calls
        self._calls += 1
        self.log.append(Event(call, thread, command=command))
        return call

    def returned(self, call: int, thread: str, result: Result) -> None:
        """Log a return."""
        self.log.append(Event(call, thread, result=result))


# Capability -> what it lets a command do.
CAPABILITIES: Mapping[str, str] = {
    "race": "several threads at once",
    "inject": "failures injected at chosen points",
    "file": "file mappings, pread and pwrite",
    "hugetlb": "hugetlb mappings",
    "mixedmap": "mmap of the device file",
    "thp": "2 MiB pages of anonymous memory",
    "collapse": "MADV_COLLAPSE",
    "swap": "MADV_PAGEOUT to a swap device",
    "dontfork": "MADV_DONTFORK and MADV_DOFORK",
    "mremap": "mremap, DONTUNMAP too",
    "gup": "get_user_pages without holding",
    "gup_longterm": "long-term pins, without holding",
    "hold": "references held for a while",
    "hold_longterm": "long-term pins held for a while",
    "hold_pin": "short-term pins held for a while",
    "peek": "data of held pages read",
    "poke": "data of held pages written",
    "pagemap": "/proc/PID/pagemap",
    "soft_dirty": "soft-dirty bits, cleared on command",
    "uffd_wp": "write protection by userfaultfd",
    "smaps": "/proc/PID/smaps",
    "drain": "lru_add_drain_all on command",
    "release_memory": "hot-remove of device memory",
    "fail_alloc": "the device's FAIL_ALLOC flag",
    "exclusive": "device-exclusive access",
    "fair": "threads that try again for each other come to an end, as on real processors",
    "checked_mirror": "after a migration the mirror takes no entry of a range that was invalidated meanwhile",
}

_NEEDS: Mapping[type[Command], str] = {
    c.Inject: "inject",
    c.FileRead: "file",
    c.FileWrite: "file",
    c.Mremap: "mremap",
    c.Peek: "peek",
    c.Poke: "poke",
    c.Pagemap: "pagemap",
    c.ClearSoftDirty: "soft_dirty",
    c.UffdWp: "uffd_wp",
    c.Smaps: "smaps",
    c.Drain: "drain",
    c.ReleaseMemory: "release_memory",
    c.Flags: "fail_alloc",
    c.Exclusive: "exclusive",
    c.CheckExclusive: "exclusive",
}
_KIND_NEEDS = {"file": "file", "file_private": "file", "hugetlb": "hugetlb", "device": "mixedmap"}
_ADVICE_NEEDS = {
    "hugepage": "thp",
    "nohugepage": "thp",
    "collapse": "collapse",
    "pageout": "swap",
    "dontfork": "dontfork",
    "dofork": "dontfork",
}

_FIELD_NEEDS = {("mmap", "kind"): _KIND_NEEDS, ("madvise", "advice"): _ADVICE_NEEDS}


def needs(command: Command) -> frozenset[str]:
    """The capabilities that a command asks of a target."""
    match command:
        case c.Mmap(kind=kind):
            out = {_KIND_NEEDS.get(kind, "")}
        case c.Madvise(advice=advice):
            out = {_ADVICE_NEEDS.get(advice, "")}
        case c.Gup(longterm=longterm, hold=hold):
            out = {"gup_longterm" if longterm else "gup"}
            if hold is not None:
                out.add("hold_longterm" if longterm else "hold_pin" if command.pin else "hold")
        case _:
            out = {_NEEDS.get(type(command), "")}
    return frozenset(out - {""})


def needs_of(word: str, field: str = "", value: str = "") -> frozenset[str]:
    """The capabilities that every command of this name asks of a target; with this value of a field, if one is told."""
    own = _FIELD_NEEDS.get((word, field), {}).get(value, "") if field else _NEEDS.get(c.COMMANDS[word], "")
    return frozenset({own} - {""})


# ---------------------------------------------------------------- targets by name

_MAKERS: dict[str, Callable[[Mapping[str, object]], Target]] = {}


def register(name: str, make: Callable[[Mapping[str, object]], Target]) -> None:
    """Make a target known to `--target NAME`; `make` gets the options of the command line by name."""
    _MAKERS[name] = make


def target_names() -> tuple[str, ...]:
    """The names that `make_target` knows."""
    return tuple(_MAKERS)


def make_target(name: str, options: Mapping[str, object] | None = None) -> Target:
    """A new target of that name.  Raises KeyError where there is none."""
    return _MAKERS[name](options or {})
