"""Making a failing program small without knowing where it came from: leave steps out, then make what is left simple.

Every list of commands is legal (NOTE(total)), so any candidate can be tried.  A target that is not deterministic is
asked several times: a candidate stands if it failed at least once.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence

from hmmspec.conform.commands import Command
from hmmspec.conform.program import Program, Race, Step, length

# Whether a program fails (in the way that is looked for).
Fails = Callable[[Program], bool]


def shrink(program: Program, fails: Fails, *, seconds: float = 20.0, tries: int = 2000) -> Program:
    """The smallest program found that still fails; `program` itself is taken to fail.

    seconds, tries: when to stop looking for a smaller one.
    """
    return _Shrinker(fails, time.monotonic() + seconds, tries).run(program)


class _Shrinker:
    def __init__(self, fails: Fails, until: float, tries: int) -> None:
        self._fails = fails
        self._until = until
        self._tries = tries
        self._seen: set[Program] = set()

    def run(self, best: Program) -> Program:
        """Pass after pass, until none finds anything."""
        while True:
            before = best
            best = self._chunks(best)
            for way in (_without_thread, _without_racing, _shorter_race, _without_command):
                best = self._first(best, way)
            best = self._first(best, _simpler)
            if best == before or self._spent():
                return best

    def _spent(self) -> bool:
        return self._tries <= 0 or time.monotonic() > self._until

    def _try(self, candidate: Program) -> bool:
        if self._spent() or candidate in self._seen:
            return False
        self._seen.add(candidate)
        self._tries -= 1
        return self._fails(candidate)

    def _chunks(self, best: Program) -> Program:
        """Leave out runs of steps, long ones first; from the end, since what comes after the failure goes at once."""
        size = max(1, len(best) // 2)
        while size:
            at = len(best) - size
            while at >= -size + 1 and not self._spent():
                start = max(0, at)
                candidate = best[:start] + best[start + size :]
                if len(candidate) < len(best) and self._try(candidate):
                    best = candidate
                at -= size
            size //= 2
        return best

    def _first(self, best: Program, way: Callable[[Program], Iterator[Program]]) -> Program:
        """Take what a way offers, as long as something of it fails."""
        again = True
        while again and not self._spent():
            again = False
            for candidate in way(best):
                if self._try(candidate):
                    best, again = candidate, True
                    break
        return best


def _races(program: Program) -> Iterator[tuple[int, Race]]:
    for at, step in enumerate(program):
        if isinstance(step, Race):
            yield at, step


def _put(program: Program, at: int, *steps: Step) -> Program:
    return program[:at] + steps + program[at + 1 :]


def _without_racing(program: Program) -> Iterator[Program]:
    """A race done one thread after the other."""
    for at, race in _races(program):
        yield _put(program, at, *(command for thread in race.threads for command in thread))


def _without_thread(program: Program) -> Iterator[Program]:
    for at, race in _races(program):
        for k in range(len(race.threads)):
            left = race.threads[:k] + race.threads[k + 1 :]
            yield _put(program, at, *((Race(left, race.seed),) if len(left) > 1 else left[0] if left else ()))


def _shorter_race(program: Program) -> Iterator[Program]:
    for at, race in _races(program):
        for k, thread in enumerate(race.threads):
            for i in range(len(thread)):
                fewer = thread[:i] + thread[i + 1 :]
                if fewer:
                    yield _put(program, at, Race((*race.threads[:k], fewer, *race.threads[k + 1 :]), race.seed))
        if race.seed:
            yield _put(program, at, Race(race.threads, 0))


def _without_command(program: Program) -> Iterator[Program]:
    for at in reversed(range(len(program))):
        yield program[:at] + program[at + 1 :]


def _simpler(program: Program) -> Iterator[Program]:
    """One number lowered, one flag cleared, one word replaced by the usual one; then all stamps from 1."""
    for at, step in enumerate(program):
        if isinstance(step, Race):
            for k, thread in enumerate(step.threads):
                for i, command in enumerate(thread):
                    for less in _less(command):
                        changed = (*thread[:i], less, *thread[i + 1 :])
                        yield _put(program, at, Race((*step.threads[:k], changed, *step.threads[k + 1 :]), step.seed))
        else:
            for less in _less(step):
                yield _put(program, at, less)
    yield from _pages_down(program)
    yield from _page_renamed(program)
    yield from _name_lowered(program)


def _less(command: Command) -> Iterator[Command]:
    for f in dataclasses.fields(command):
        value = getattr(command, f.name)
        if f.name in {"count", "times"}:
            wanted: Sequence[object] = sorted({1, value // 2, value - 1} - {0, value})
        elif f.name in {"page", "to", "offset", "stamp"}:
            least = 1 if f.name == "stamp" else 0
            wanted = sorted({n for n in (least, value // 2, value - 1) if least <= n < value})
        elif isinstance(value, bool) or f.name in {"prot", "kind", "hold"}:
            wanted = [] if f.default is dataclasses.MISSING or value == f.default else [f.default]
        else:
            wanted = []
        for new in wanted:
            yield dataclasses.replace(command, **{f.name: new})


def _pages_down(program: Program) -> Iterator[Program]:
    """All pages moved down together."""
    lowest = min((c.page for c in _all(program) if hasattr(c, "page")), default=0)
    if lowest:
        yield tuple(_moved(step, lowest) for step in program)


def _page_renamed(program: Program) -> Iterator[Program]:
    """One page's number lowered wherever it is named."""
    used = sorted({c.page for c in _all(program) if hasattr(c, "page")})
    for page in used:
        for new in sorted({0, *used, page - 1}):
            if 0 <= new < page:
                yield tuple(_renamed(step, page, new) for step in program)


def _name_lowered(program: Program) -> Iterator[Program]:
    """A process or a device replaced by one with a lower name wherever it is named."""
    for fields in (("process", "child"), ("device", "source")):
        used = sorted({n for c in _all(program) for f in fields if (n := getattr(c, f, None)) and n != "f0"})
        for name in used:
            lower = [n for n in used if n < name] or ["p0" if fields[0] == "process" else "dev0"]
            for new in (n for n in lower if n != name):
                yield tuple(
                    Race(
                        tuple(tuple(_named(c, fields, name, new) for c in thread) for thread in step.threads), step.seed
                    )
                    if isinstance(step, Race)
                    else _named(step, fields, name, new)
                    for step in program
                )


def _named(command: Command, fields: Sequence[str], old: str, new: str) -> Command:
    changed = {f: new for f in fields if getattr(command, f, None) == old}
    return dataclasses.replace(command, **changed) if changed else command


def _renamed(step: Step, page: int, new: int) -> Step:
    if isinstance(step, Race):
        threads = tuple(tuple(_rename(c, page, new) for c in thread) for thread in step.threads)
        return Race(threads, step.seed)
    return _rename(step, page, new)


def _rename(command: Command, page: int, new: int) -> Command:
    changed = {n: new for n in ("page", "to") if getattr(command, n, None) == page}
    return dataclasses.replace(command, **changed)


def _all(program: Program) -> Iterator[Command]:
    for step in program:
        yield from (c for thread in step.threads for c in thread) if isinstance(step, Race) else (step,)


def _moved(step: Step, by: int) -> Step:
    if isinstance(step, Race):
        return Race(tuple(tuple(_down(c, by) for c in thread) for thread in step.threads), step.seed)
    return _down(step, by)


def _down(command: Command, by: int) -> Command:
    lowered = {n: getattr(command, n) - by for n in ("page", "to") if getattr(command, n, 0) >= by}
    return dataclasses.replace(command, **lowered)


def smaller(a: Program, b: Program) -> bool:
    """Whether the first is smaller: fewer commands, then fewer pages."""

    def measure(program: Program) -> tuple[int, int, int]:
        races = sum(isinstance(step, Race) for step in program)
        return length(program), races, sum(getattr(c, "count", 0) for c in _all(program))

    return measure(a) < measure(b)
