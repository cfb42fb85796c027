"""Random programs that have something to do: commands chosen with an idea of what is mapped, open and held.

One generator serves all who need one: a `Chooser` says which of several things is taken, and is a seeded generator of
random numbers, or Hypothesis, which can then make the program smaller.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from types import MappingProxyType
from typing import Protocol, TypeVar

from hmmspec.conform import commands as c
from hmmspec.conform.commands import PMD_PAGES, Command
from hmmspec.conform.memory import Memory
from hmmspec.conform.program import Program, Race, Step
from hmmspec.conform.results import Result
from hmmspec.conform.sequels import rivals, sequel
from hmmspec.conform.space import Cell, Space
from hmmspec.conform.stories import Cast, story
from hmmspec.conform.target import Target, needs
from hmmspec.records import dataclass

T = TypeVar("T")


class Chooser(Protocol):
    """Who decides."""

    def number(self, least: int, most: int) -> int:
        """A number of this range; the least is the simplest."""

    def below(self, total: int) -> int:
        """A number from 0 below `total`."""


class RandomChooser:
    """Decisions from a seed."""

    def __init__(self, seed: int | random.Random) -> None:
        self._random = seed if isinstance(seed, random.Random) else random.Random(seed)

    def number(self, least: int, most: int) -> int:
        return self._random.randint(least, most)

    def below(self, total: int) -> int:
        return self._random.randrange(total)


def pick(chooser: Chooser, choices: Sequence[T]) -> T:
    """One of them; the first is the simplest."""
    return choices[chooser.below(len(choices))] if len(choices) > 1 else choices[0]


def weighted(chooser: Chooser, weights: Mapping[T, int]) -> T:
    """One of the keys, by weight."""
    at = chooser.below(sum(weights.values()))
    for key, weight in weights.items():
        at -= weight
        if at < 0:
            return key
    raise AssertionError("weights are positive")


# What a program does how often.  Mapping comes first: it is the simplest thing that does anything.
_WEIGHTS = {
    "mmap": 8,
    "open": 4,
    "store": 14,
    "load": 12,
    "migrate_to_device": 14,
    "dev_read": 9,
    "dev_write": 9,
    "migrate_to_system": 7,
    "snapshot": 6,
    "increment": 3,
    "munmap": 3,
    "mprotect": 6,
    "madvise": 7,
    "mremap": 3,
    "fork": 4,
    "exclusive": 6,
    "check_exclusive": 3,
    "gup": 6,
    "peek": 2,
    "poke": 2,
    "unpin": 3,
    "exit": 2,
    "kill": 1,
    "spawn": 1,
    "close": 2,
    "release_memory": 2,
    "pagemap": 3,
    "smaps": 2,
    "clear_soft_dirty": 1,
    "uffd_wp": 2,
    "file_write": 2,
    "file_read": 2,
    "drain": 1,
    "flags": 2,
    "inject": 2,
}
WEIGHTS: Mapping[str, int] = MappingProxyType(_WEIGHTS)
STORIES = 20  # one in so many commands begins a story


@dataclass(frozen=True)
class Shape:
    """What programs look like.

    pages: base pages that are used; huge: whether 2 MiB areas are used too; count: the most pages of a command (but for
    huge ones); steps: the most steps; race: how many of 100 steps are races; failures: whether failures are injected;
    words: how often each command comes (a word that is missing never does).
    """

    pages: int = 8
    count: int = 6
    steps: int = 40
    processes: int = 3
    race: int = 0
    failures: bool = False
    huge: bool = False
    threads: int = 3
    words: Mapping[str, int] = field(default_factory=lambda: WEIGHTS)
    devices: tuple[str, ...] = ("dev0", "dev1")
    capabilities: frozenset[str] = frozenset()


def shape_for(
    target: Target, *, race: bool = False, failures: bool = False, huge: bool = False, **more: object
) -> Shape:
    """The shape that fits what a target can do."""
    can = target.capabilities
    return Shape(
        race=15 if race and "race" in can else 0,
        failures=failures and bool({"inject", "fail_alloc"} & can),
        huge=huge and bool({"thp", "hugetlb"} & can),
        devices=tuple(target.devices),
        capabilities=can,
        **more,  # type: ignore[arg-type]
    )


class Generator:
    """Makes one program, step by step."""

    def __init__(self, shape: Shape, chooser: Chooser) -> None:
        self.shape = shape
        self.memory = Memory()
        self._chooser = chooser
        self._stamp = 1
        self._story: list[Command] = []

    def program(self) -> Program:
        """A whole program."""
        return tuple(self.step() for _ in range(self._chooser.number(1, self.shape.steps)))

    def step(self) -> Step:
        """The next step."""
        if self.shape.race and self._chooser.below(100) >= 100 - self.shape.race:
            return self.race()
        return self.command()

    def command(self) -> Command:
        """The next command; every fourth or so goes on with a short story about the same pages."""
        if not self._story and self._chooser.below(STORIES) == STORIES - 1:
            self._story = self._told()
        made = self._story.pop(0) if self._story else self._make(self.shape.words, None)
        self.follow(made)
        if not self._story and self._chooser.below(4) == 3:
            process = getattr(made, "process", "")
            others = [name for name in self.memory.spaces if name != process]
            told = sequel(made, self._chooser.below, self._fresh, others)
            self._story = [x for x in told if self._fits(x)]
        return made

    def _told(self) -> list[Command]:
        """A story on pages of somebody's, if there are any and a device is open."""
        who = pick(self._chooser, self._processes())
        space = self.memory.space(who)
        if not space.slots or not space.devices:
            return []
        page, count = self._range(space)
        if self.shape.huge and not self._chooser.below(4):
            page, count = PMD_PAGES * self._chooser.number(1, 2), PMD_PAGES
        if count < PMD_PAGES:
            # What happens to one page alone is judged most exactly.
            count = 1 if self._chooser.below(2) else min(count, self.shape.count)
        child = self._free_name() if len(self.memory.spaces) < self.shape.processes else ""
        hold = next(name for n in range(1000) if (name := f"h{n}") not in space.holds)
        device, other = self._device(space), self._device(space)
        cast = Cast(who, child, device, other, page, count, self._elsewhere(count), hold)
        return [x for x in story(cast, self._chooser.below, self._fresh) if self._fits(x)]

    def _fits(self, command: Command) -> bool:
        """Whether the target can do it, and the shape of programs has it."""
        return needs(command) <= self.shape.capabilities and bool(self.shape.words.get(command.word))

    def choose(self, words: Mapping[str, int]) -> Command:
        """A command with one of these names, if any has something to do; nothing is taken to happen."""
        return self._make(words or self.shape.words, None)

    def race(self, follow: bool = True) -> Race:
        """Threads at once.  What one does to the mappings the others do not know."""
        chooser = self._chooser
        threads = self._rivals() if chooser.below(3) == 2 else []
        for _ in range(0 if threads else chooser.number(2, self.shape.threads)):
            process = pick(chooser, self._processes())
            count = chooser.number(1, 3)
            threads.append(tuple(self._make(self.shape.words, process) for _ in range(count)))
        for thread in threads if follow else ():
            for command in thread:
                self.follow(command)
        return Race(tuple(threads), chooser.below(1 << 16))

    def _rivals(self) -> list[tuple[Command, ...]]:
        """Threads of one process, on its pages, that are known to get into each other's way; [] where they cannot."""
        who = pick(self._chooser, self._processes())
        space = self.memory.space(who)
        if not space.slots or not space.devices or len(self.memory.spaces) >= self.shape.processes:
            return []
        pages = self._range(space)
        told = rivals(who, self._device(space), pages, self._chooser.below, self._fresh, self._free_name())
        threads = [tuple(x for x in thread if self._fits(x)) for thread in told]
        return [thread for thread in threads if thread] if all(threads) else []

    def follow(self, command: Command) -> None:
        """Take it that a command succeeds, if it can."""
        if self.memory.refused(command) == "":
            if isinstance(command, c.FileWrite):
                cells = self.memory.files.setdefault(command.file, [])
                cells.extend(Cell(0) for _ in range(command.page + command.count - len(cells)))
            self.memory.restructure(command, Result(cpages=getattr(command, "count", 0)))

    def skip(self, steps: int) -> None:
        """Leave room for the stamps of steps that were made elsewhere."""
        self._stamp += 20 * 4 * steps

    # ---- what is there

    def _processes(self) -> list[str]:
        return list(self.memory.spaces) or ["p0"]

    def _useful(self, word: str, process: str) -> bool:
        """Whether a command has something to work on."""
        space = self.memory.space(process)
        match word:
            case "peek" | "poke" | "unpin":
                return bool(space.holds)
            case "close" | "release_memory":
                return bool(space.devices)
            case "open":
                return bool(self.shape.devices) and len(space.devices) < len(self.shape.devices)
            case "fork" | "spawn":
                return len(self.memory.spaces) < self.shape.processes
            case "exit" | "kill":
                return len(self.memory.spaces) > 1
            case "file_read":
                return bool(self.memory.files)
            case "inject":
                return self.shape.failures
            case "flags":
                return self.shape.failures and bool(space.devices)
            case "mmap" | "file_write" | "drain":
                return True
            case "clear_soft_dirty":
                return bool(space.slots)
            case _:
                mirror = issubclass(c.COMMANDS[word], c.OfMirror)
                return bool(space.slots) and (not mirror or bool(space.devices))

    def _make(self, words: Mapping[str, int], process: str | None) -> Command:
        chooser = self._chooser
        who = process or pick(chooser, self._processes())
        possible = {w: n for w, n in words.items() if n > 0 and self._useful(w, who)}
        space = self.memory.space(who)
        if not space.slots or (not space.devices and chooser.below(2)):
            # A program begins with something mapped and a device open.
            first = {w: n for w, n in possible.items() if w in ("mmap", "open")}
            possible = first or possible
        for _ in range(8):
            if possible:
                made = self._fill(weighted(chooser, possible), who)
                if made is not None and needs(made) <= self.shape.capabilities:
                    return made
        return self._mmap(who, plain=True)

    # ---- arguments

    def _fill(self, word: str, who: str) -> Command | None:
        chooser, space = self._chooser, self.memory.space(who)
        cls = c.COMMANDS[word]
        match word:
            case "mmap":
                return self._mmap(who)
            case "fork":
                return c.Fork(who, self._free_name())
            case "spawn":
                return c.Spawn(self._free_name())
            case "exit" | "kill" | "clear_soft_dirty":
                return cls(who)  # type: ignore[call-arg]
            case "open":
                return c.Open(who, pick(chooser, [d for d in self.shape.devices if d not in space.devices]))
            case "close" | "release_memory":
                return cls(who, self._device(space))  # type: ignore[call-arg]
            case "flags":
                return c.Flags(who, self._device(space))
            case "peek":
                return c.Peek(who, pick(chooser, list(space.holds)))
            case "unpin":
                return c.Unpin(who, pick(chooser, list(space.holds)))
            case "poke":
                writable = [name for name, hold in space.holds.items() if hold.write]
                return c.Poke(who, pick(chooser, writable), self._fresh(8)) if writable else None
            case "drain":
                return c.Drain()
            case "inject":
                device = pick(chooser, ("", *sorted(space.devices)))
                return c.Inject(pick(chooser, c.POINTS), chooser.number(1, 2), device)
            case "file_write":
                return c.FileWrite("f0", chooser.below(4), chooser.number(1, 4), self._fresh(4))
            case "file_read":
                return c.FileRead("f0", 0, max(1, len(self.memory.files["f0"])))
            case _:
                pass
        page, count = self._range(space)
        return self._ranged(word, who, space, page, count)

    def _ranged(self, word: str, who: str, space: Space, page: int, count: int) -> Command | None:
        chooser = self._chooser
        cls = c.COMMANDS[word]
        match word:
            case "mprotect":
                return c.Mprotect(who, page, count, pick(chooser, ("r", "rw", "none")))
            case "madvise":
                advice = [a for a in c.ADVICE if a not in ("dontfork", "dofork") or chooser.below(4) == 3]
                return c.Madvise(who, page, count, pick(chooser, advice))
            case "mremap":
                return c.Mremap(who, page, count, self._elsewhere(count), chooser.below(4) == 3)
            case "store":
                return c.Store(who, page, count, self._fresh(count))
            case "gup":
                pin = bool(chooser.below(2))
                longterm = pin and chooser.below(3) == 2
                hold = f"h{len(space.holds)}" if len(space.holds) < 3 and chooser.below(3) == 2 else None
                return c.Gup(who, page, count, bool(chooser.below(2)), bool(chooser.below(2)), pin, longterm, hold)
            case "uffd_wp":
                return c.UffdWp(who, page, count, chooser.below(3) < 2)
            case "dev_write":
                return c.DevWrite(who, self._device(space), page, count, self._fresh(count))
            case _:
                pass
        if issubclass(cls, c.OfMirror):
            return cls(who, self._device(space), page, count)
        return cls(who, page, count)  # type: ignore[call-arg]

    def _mmap(self, who: str, plain: bool = False) -> Command:
        chooser, shape = self._chooser, self.shape
        page, count = chooser.below(shape.pages), 1
        if not self.memory.space(who).slots:
            page, count = 0, shape.pages
        else:
            count = chooser.number(1, min(shape.count, shape.pages - page))
        if plain:
            return c.Mmap(who, page, count)
        if shape.huge and chooser.below(6) == 5:
            kind = "hugetlb" if "hugetlb" in shape.capabilities and chooser.below(4) == 3 else "private"
            return c.Mmap(who, PMD_PAGES * chooser.number(1, 2), PMD_PAGES, pick(chooser, ("rw", "r")), kind)
        kinds = {"private": 12, "shared": 3}
        if self.memory.files:
            kinds |= {"file": 2, "file_private": 2}
        if "mixedmap" in shape.capabilities and self.memory.space(who).devices:
            kinds["device"] = 1
        kind = weighted(chooser, kinds)
        source = self._device(self.memory.space(who)) if kind == "device" else "f0" if kind.startswith("file") else None
        offset = chooser.below(3) if kind.startswith("file") else 0
        prot = weighted(chooser, {"rw": 8, "r": 2, "none": 1})
        return c.Mmap(who, page, count, prot, kind, source, offset)

    def _range(self, space: Space) -> tuple[int, int]:
        """Pages to work on: mostly mapped ones."""
        chooser, shape = self._chooser, self.shape
        huge = sorted({p // PMD_PAGES for p in space.slots if p >= PMD_PAGES})
        if shape.huge and huge and chooser.below(3) == 2:
            base = PMD_PAGES * pick(chooser, huge)
            whole = chooser.below(3)
            return (base, PMD_PAGES) if whole < 2 else (base + chooser.below(PMD_PAGES), chooser.number(1, shape.count))
        mapped = [p for p in range(shape.pages) if p in space.slots]
        if mapped and chooser.below(10) < 9:
            page = pick(chooser, mapped)
            run = 1
            while page + run in space.slots and run < shape.count:
                run += 1
            return page, chooser.number(1, run)
        page = chooser.below(shape.pages)
        return page, chooser.number(1, min(shape.count, shape.pages - page))

    def _elsewhere(self, count: int) -> int:
        return self._chooser.below(max(1, self.shape.pages - count + 1))

    def _device(self, space: Space) -> str:
        return pick(self._chooser, sorted(space.devices) or list(self.shape.devices))

    def _free_name(self) -> str:
        return next(name for n in range(1000) if (name := f"p{n}") not in self.memory.spaces)

    def _fresh(self, count: int) -> int:
        """A stamp that nothing else in this program has, nor the `count - 1` after it."""
        first = self._stamp
        self._stamp += max(count, 20)
        return first


def programs_from(shape: Shape, seed: int) -> Callable[[], Program]:
    """A source of random programs."""
    chooser = RandomChooser(seed)
    return lambda: Generator(shape, chooser).program()
