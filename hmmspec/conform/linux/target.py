"""A real Linux kernel in a virtual machine as a target.

One boot serves many programs: each begins with processes whose arenas are empty, with no files and no references held.
A list of commands goes to the guest whole and comes back whole.  When the guest dies, or one of its processes never
comes back from the kernel, `TargetLost` says so, and the next `reset` boots anew.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from hmmspec.conform import commands as c
from hmmspec.conform.commands import Command
from hmmspec.conform.linux import codec
from hmmspec.conform.linux.codec import Answer, Names, Status, Told, TooMany
from hmmspec.conform.linux.console import console_findings
from hmmspec.conform.linux.leaks import Leaks, amounts, drift
from hmmspec.conform.program import Step, play
from hmmspec.conform.results import Result
from hmmspec.conform.target import DeviceKind, Finding, Target, TargetLost, register
from hmmspec.diagnostics import SpecError
from hmmspec.linux import store
from hmmspec.linux.image import Image
from hmmspec.linux.machine import Accel, Boot, Machine, MachineError
from hmmspec.linux.protocol import Kind
from hmmspec.ref.profile import BEHAVIOURS, profile

KINDS: tuple[DeviceKind, ...] = ("private", "private", "coherent", "coherent")  # of the devices 0 to 3
PATIENCE = 20.0  # seconds without progress after which a process of the guest is said to hang
ROUNDS = 6  # of runs of one program between which is looked for what it leaves behind
ALWAYS = frozenset({"fair", "race", "file", "mremap", "dontfork"})

# What the kernel's source shows -> the behaviours of that name in the reference's profiles.
_SHOWN = {
    "thp_device": ("device_thp", "range_fault_pmd_owner", "splits_pte_mapped"),
    "fail_alloc": ("fail_alloc",),
    "close_evicts": ("evict_on_close", "close_evicts_everybody"),
    "fault_trylock": ("fault_trylocks",),
    "read_unlockable": ("range_fault_unlocked",),
    "joins_untouched": ("joins_untouched",),
    "sticky_soft_dirty": ("joined_stays_soft_dirty",),
}


class LinuxTarget(Target):
    """Linux of a kernel image under QEMU.

    image: what `hmmspec linux build` makes; accel: `auto`, `kvm` or `tcg`; profile_name: the behaviours to begin with,
    before what the image's source shows is put in; patience: seconds; start: makes a machine.  Raises ValueError where
    it cannot be started.
    """

    name = "linux"
    atomic = False
    deterministic = False

    def __init__(
        self,
        image: Image,
        *,
        accel: Accel = "auto",
        profile_name: str = "6.12",
        patience: float = PATIENCE,
        start: Callable[[Boot], Machine] = Machine,
    ) -> None:
        super().__init__()
        self.image = image
        self.kernel = image.version
        self.patience = patience
        # Without that word KASAN tells of the first mistake after a boot, and of no other.
        self._boot = Boot(image.kernel, accel, ("kasan_multi_shot",) if image.kind == "debug" else ())
        self._start = start
        self._made: list[Finding] = []
        self._warned = self._worn = self._strict = False
        self._leaks = Leaks()
        self._machine: Machine | None = None
        self.boots = 0
        try:
            self._restart(0)
        except TargetLost as error:
            raise ValueError(str(error)) from None
        known = profile(profile_name)
        self.profile = {b: b in known for b in BEHAVIOURS} | {
            behaviour: word in image.supports for word, behaviours in _SHOWN.items() for behaviour in behaviours
        }
        self.profile["files_in_memory"] = True
        greeting = self._running().greeting
        self.devices = devices_of(greeting)
        self.capabilities = capabilities_of(greeting, image.supports)

    # ---- living

    def renew(self) -> bool:
        """The next reset boots."""
        self._worn = True
        return True

    def _running(self) -> Machine:
        if self._machine is None:
            raise TargetLost("the guest is dead: reset the target")
        return self._machine

    def _restart(self, seed: int) -> None:
        self._names = Names()
        self._fresh = True
        self._made = self._died_alone()
        if self._machine is None or not self._machine.running or self._worn:
            self._warned = self._worn = False
            self.close()
            try:
                self._machine = self._start(self._boot)
            except MachineError as error:
                raise TargetLost(str(error)) from None
            if (version := self._machine.greeting.get("agent")) != str(codec.VERSION):
                self.close()
                raise TargetLost(f"the agent in the guest has version {version}, not {codec.VERSION}")
            self.boots += 1
            self._leaks.restart()
            self._said = self._machine.console.count
        else:
            self._said = self._machine.console.count

    def _died_alone(self) -> list[Finding]:
        """What is to be told of a machine that died when nobody had asked it for anything."""
        machine = self._machine
        if machine is None or machine.running:
            return []
        said = console_findings(machine.console.lines(self._said))
        return [*said, Finding("crash", "the machine had died between two programs, or at the end of the one before")]

    def _lose(self, check: str, message: str) -> TargetLost:
        """The machine is of no use any more."""
        machine = self._machine
        if machine is not None:
            machine.kill()
            self._made = list(console_findings(machine.console.lines(self._said)))
            self._machine = None
        self._made.append(Finding(check, message))
        return TargetLost(message)

    def _ask(self, kind: Kind, payload: bytes, seconds: float) -> bytes:
        machine = self._running()
        try:
            return machine.ask(kind, payload, seconds)
        except MachineError as error:
            raise self._lose("crash", str(error)) from None

    def close(self) -> None:
        """End the machine."""
        if self._machine is not None:
            self._machine.kill()
            self._machine = None

    # ---- commands

    def _exchange(self, kind: Kind, threads: Sequence[Sequence[Command]], seed: int = 0) -> Answer:
        try:
            records = [[codec.encode(command, self._names) for command in thread] for thread in threads]
        except TooMany as error:
            raise TargetLost(str(error)) from None
        again = self._fresh and self._warned
        payload = codec.request(records, fresh=self._fresh, again=again, patience=self.patience, seed=seed)
        self._fresh, self._warned = False, self._warned and not again
        commands = sum(map(len, threads))
        told = self._ask(kind, payload, 4 * self.patience + 0.05 * commands)
        try:
            return codec.answer(told)
        except ValueError as error:
            raise self._lose("crash", str(error)) from None

    def _run(self, commands: Sequence[Command]) -> Iterator[Result]:
        at = 0
        while at < len(commands):
            part = _portion(commands[at:])
            sent = [x for x in part if self._can(x)]
            answer = self._exchange(Kind.RUN, [sent]) if sent else Answer(Status.DONE, 0, ())
            told = iter(answer.told)
            for command in part:
                if not self._can(command):
                    yield Result("ENOSYS")
                    continue
                one = next(told)
                if not one.end:
                    raise self._unfinished(answer, command)
                yield one.result
            at += len(part)

    def _can(self, command: Command) -> bool:
        return self.supports(command) and codec.can_travel(command)

    def _unfinished(self, answer: Answer, command: Command) -> TargetLost:
        if answer.status is Status.STUCK:
            return self._lose("hang", f"{command} has not returned within {self.patience:g} s")
        return self._lose("crash", f"the process ended by itself during {command}")

    def _race(self, threads: Sequence[Sequence[Command]], seed: int) -> list[list[Result | None]]:
        if len(threads) > codec.THREADS:
            raise TargetLost(f"a race on this target has at most {codec.THREADS} threads")
        sent = [[x for x in thread if self._can(x)] for thread in threads]
        answer = self._exchange(Kind.RACE, sent, seed)
        told = iter(answer.told)
        out: list[list[Result | None]] = []
        moments: list[tuple[int, int, str, Command | Result]] = []
        number = 0
        for at, thread in enumerate(threads):
            results: list[Result | None] = []
            last = 0
            for command in thread:
                one = next(told) if self._can(command) else Told(last, last, Result("ENOSYS"))
                last = max(last, one.end)
                if one.begin or one.end:
                    moments.append((one.begin, 2 * number, f"t{at}", command))
                if one.end:
                    moments.append((one.end, 2 * number + 1, f"t{at}", one.result))
                results.append(one.result if one.end else None)
                number += 1
            out.append(results)
        calls: dict[int, int] = {}
        for _, place, name, what in sorted(moments, key=lambda m: m[:2]):
            if isinstance(what, Command):
                calls[place] = self.called(name, what)
            else:
                self.returned(calls[place - 1], name, what)
        if answer.status is not Status.DONE:
            commands = [x for thread in sent for x in thread]
            raise self._unfinished(answer, commands[min(answer.at, len(commands) - 1)])
        self._killed_by_nobody(threads, out)
        return out

    def _killed_by_nobody(self, threads: Sequence[Sequence[Command]], results: list[list[Result | None]]) -> None:
        """A process that died although no command ended it was killed by the kernel."""
        ended = {x.process for thread in threads for x in thread if isinstance(x, c.Exit | c.Kill)}
        for thread, given in zip(threads, results, strict=True):
            for command, result in zip(thread, given, strict=True):
                if result is not None and result.error == "SIGKILL" and getattr(command, "process", "") not in ended:
                    raise self._lose("crash", f"the process ended by itself during {command}")

    # ---- what is wrong

    def findings(self) -> tuple[Finding, ...]:
        """What the kernel said on its console since the last reset, and how it was lost."""
        if self._machine is None:
            return tuple(self._made)
        self._machine.all_said()
        found = console_findings(self._machine.console.lines(self._said))
        # NOTE(once): many a warning comes once; the next program starts that anew.  Lock checks end with their first
        # report for good: only another boot brings them back.
        self._warned = self._warned or any(f.name.startswith("WARN") for f in found)
        self._worn = self._worn or any(f.name.startswith("lockdep") for f in found)
        found = (*self._made, *(f for f in found if not self._tells_of_refusal(f)))
        self._strict = self._strict or bool(found)
        return found

    def _tells_of_refusal(self, finding: Finding) -> bool:
        """The test device warns when a fault for writing brings a page of its own that it may not write, which its
        next words are EFAULT: that is how it says no, and no mistake of the kernel's."""
        if not (finding.name.startswith("WARN dmirror") and "lib/test_hmm.c" in finding.message):
            return False
        asked = {e.call for e in self.log if isinstance(e.command, c.DevWrite)}
        return any(e.call in asked and e.result is not None and e.result.error == "EFAULT" for e in self.log)

    def _finish(self) -> tuple[Finding, ...]:
        """Now and then all processes end for good, and what the kernel has left is counted.  What it says of a process
        that ends may be of an earlier program; so once it has said anything, they end after each."""
        self._running()
        if self._leaks.due():
            return tuple(self._leaks.look(self._left()))
        if self._strict:
            self._left()
        return ()

    def _left(self) -> str:
        """End all processes, and see what is in use then."""
        if self._ask(Kind.RESET, b"", 4 * self.patience) != b"stuck=0\n":
            raise self._lose("hang", "a process does not end")
        self._fresh = True
        return self._ask(Kind.COUNTS, b"", 4 * self.patience).decode()

    def leaks_of(self, program: Sequence[Step], times: int = 200) -> tuple[Finding, ...]:
        """What is left behind by a program that is run again and again.  Raises TargetLost."""
        runs = max(1, times // ROUNDS)
        looks: list[dict[str, int]] = []
        for _ in range(ROUNDS):
            for seed in range(runs):
                play(self, program, seed)
            looks.append(amounts(self._left()))
        return tuple(drift(looks, runs))


def devices_of(greeting: Mapping[str, str]) -> dict[str, DeviceKind]:
    """The test devices that the agent found."""
    mask = int(greeting.get("devices", "0"))
    return {f"dev{n}": kind for n, kind in enumerate(KINDS) if mask >> n & 1}


def capabilities_of(greeting: Mapping[str, str], supports: frozenset[str]) -> frozenset[str]:
    """What the guest can do: what the agent found out, and what the kernel's source shows."""

    def has(word: str) -> bool:
        return int(greeting.get(word, "0")) > 0

    out = set(ALWAYS)
    out |= {
        word for word in ("uffd_wp", "pagemap", "smaps", "swap", "drain", "thp", "hugetlb", "soft_dirty") if has(word)
    }
    if has("thp"):
        out.add("collapse")
    if has("gup"):
        out |= {"gup", "gup_longterm", "hold", "peek"}
        if "gup_longterm" in supports:
            out.add("hold_longterm")
    if has("devices"):
        out.add("mixedmap")
        out |= {capability for word, capability in _DEVICE.items() if word in supports}
    return frozenset(out)


_DEVICE = {
    "exclusive": "exclusive",
    "release": "release_memory",
    "fail_alloc": "fail_alloc",
    "checked_mirror": "checked_mirror",
}


def _portion(commands: Sequence[Command]) -> Sequence[Command]:
    """The first commands, as many as one message has room for."""
    room = codec.DATA
    for number, command in enumerate(commands):
        room -= codec.volume(command)
        if number and (room < 0 or number == codec.BATCH):
            return commands[:number]
    return commands


# ---------------------------------------------------------------- by name


def make(options: Mapping[str, object]) -> LinuxTarget:
    """From the options of the command line: image, kind, accel, profile, limit.  Raises ValueError."""
    named = str(options.get("image") or os.environ.get("HMMSPEC_LINUX_IMAGE") or "")
    accel = str(options.get("accel") or os.environ.get("HMMSPEC_LINUX_ACCEL") or "auto")
    if accel not in ("auto", "kvm", "tcg"):
        raise ValueError(f"accel is auto, kvm or tcg, not '{accel}'")
    limit = options.get("limit")
    return LinuxTarget(
        image_of(named, str(options.get("kind") or "plain")),
        accel=accel,  # type: ignore[arg-type]
        profile_name=str(options.get("profile") or "6.12"),
        patience=float(str(limit)) if limit else PATIENCE,
    )


def image_of(named: str, kind: str) -> Image:
    """The image of a folder, a hash, or the newest of a kind.  Raises ValueError with what to do."""
    try:
        if named:
            return Image.load(Path(named)) if Path(named).is_dir() else store.named(named)
        if kind not in ("plain", "debug"):
            raise ValueError(f"an image is plain or debug, not '{kind}'")
        found = store.newest(kind)  # type: ignore[arg-type]
    except SpecError as error:
        raise ValueError("; ".join(d.message for d in error.diagnostics)) from None
    if found is None:
        raise ValueError(f"there is no {kind} kernel image: 'hmmspec linux build' makes one")
    return found


register("linux", make)
