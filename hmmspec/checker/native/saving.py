"""A search is saved from time to time, and goes on from what was saved."""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from hmmspec.checker.explicit.limits import Meter, show_bytes
from hmmspec.checker.native.bindings import Engine
from hmmspec.checker.native.checkpoint import Foreign, Header, Saved, Unusable, remove_temporaries, write
from hmmspec.checker.native.soundness import checks, used_bits
from hmmspec.checker.native.unit import Compiled
from hmmspec.checker.options import CheckOptions, Checkpoints
from hmmspec.checker.verdict import InstanceReport
from hmmspec.diagnostics import Limit
from hmmspec.system.identity import difference, parts, text_digest
from hmmspec.system.system import System

_AT_ONCE = 1 << 16  # states written at a time


@dataclass(frozen=True)
class Past:
    """What was used up before this process went on from a checkpoint."""

    seconds: float = 0.0
    explore_seconds: float = 0.0


class Saver:
    """Writes the checkpoints of one search.  begin: when its check began (`time.monotonic`)."""

    def __init__(
        self, system: System, options: CheckOptions, plan: Checkpoints, compiled: Compiled, begin: float, past: Past
    ) -> None:
        self.file = plan.path(system.name, system.instance)
        self.every = plan.every
        self._system, self._options, self._plan, self._compiled = system, options, plan, compiled
        self._begin, self._past = begin, past
        self._last = time.monotonic()
        self._states: int | None = None  # of the newest checkpoint there is
        self._trouble = ""
        self._finished = False
        self._size = 8 * compiled.words
        remove_temporaries(self.file)

    def resumed(self, states: int) -> None:
        """The file holds a checkpoint of so many states already."""
        self._states, self._last = states, time.monotonic()

    def due(self) -> bool:
        """Whether it is time for the next checkpoint."""
        return time.monotonic() - self._last >= self.every

    def save(self, engine: Engine, explore_seconds: float, searched: bool = False) -> None:
        """Write one, between two calls of `engine.run`.  A file that cannot be written does not end the search:
        `remark` tells of it."""
        try:
            self._save(engine, explore_seconds, searched)
        except OSError as error:
            self._trouble = error.strerror or str(error)
        except MemoryError:
            self._trouble = "out of memory"
        self._last = time.monotonic()

    def _save(self, engine: Engine, explore_seconds: float, searched: bool) -> None:
        lost = engine.lost(self._size)
        if lost is None:
            self._trouble = "memory ran out in the middle of a step"
            return
        now = engine.counted()
        control = engine.export()
        header = Header(
            hmmspec=self._plan.version,
            spec=self._system.name,
            path=self._system.path,
            absolute=str(Path(self._system.path).absolute()),
            instance=self._system.instance,
            overrides=dict(self._plan.overrides),
            parts=self._identity[0],
            text=self._identity[1],
            symmetry=self._options.symmetry,
            witness=self._options.witness,
            max_traces=self._options.max_traces,
            seed=self._options.seed,
            hash_bits=self._options.hash_bits,
            words=self._compiled.words,
            states=now.states,
            lost=len(lost) // self._size,
            control=len(control) // 8,
            expanded=now.states - now.frontier,
            searched=searched,
            seconds=self._past.seconds + time.monotonic() - self._begin,
            explore_seconds=self._past.explore_seconds + explore_seconds,
            every=self.every,
        )
        self.file.parent.mkdir(parents=True, exist_ok=True)
        write(self.file, header, self._contents(engine, control, now.states, lost))
        self._states, self._trouble = now.states, ""

    @cached_property
    def _identity(self) -> tuple[dict[str, str], str]:
        return parts(self._system), text_digest(self._compiled.text)

    def _contents(self, engine: Engine, control: bytes, states: int, lost: bytes) -> Iterator[bytes | memoryview]:
        yield control
        store = memoryview(engine.memory(self._size, states)).cast("B")  # type: ignore[arg-type]
        for at in range(0, states, _AT_ONCE):
            end = min(at + _AT_ONCE, states)
            yield store[at * self._size : end * self._size]
            engine.let_go(at, end)
        yield lost

    def finish(self) -> None:
        """The search and what follows it is over: nobody needs to go on.  The file stays until what was found is shown,
        see `forget`."""
        self._finished = True

    def drop(self) -> None:
        """There is no use in going on."""
        self._finished = True
        if self._states is not None:
            with suppress(OSError):
                self.file.unlink(missing_ok=True)

    def remark(self) -> str:
        """What a report says of the checkpoints ('' if nothing)."""
        if self._finished:
            return f"the last checkpoint was not written: {self._trouble}" if self._trouble else ""
        go_on = f"to go on: hmmspec resume {shlex.quote(os.fspath(self.file))}"
        if self._states is None:
            return f"there is no checkpoint to go on from: {self._trouble or 'the search had hardly begun'}"
        if self._trouble:
            return f"the last checkpoint was not written: {self._trouble}; {go_on} (from {self._states} states)"
        return go_on


def forget(plan: Checkpoints, report: InstanceReport) -> None:
    """When a report is where it shall be: the checkpoint of a search that is over goes.  Raises OSError."""
    file = plan.path(report.spec, report.instance)
    remove_temporaries(file)
    if report.engine == "native" and not report.limit and not report.interrupted:
        file.unlink(missing_ok=True)


# ---------------------------------------------------------------- going on


def compare(saved: Saved, system: System) -> None:
    """Raises Foreign unless the checkpoint is of this system."""
    header = saved.header
    if header.spec != system.name:
        raise Foreign(f"it is of the spec '{header.spec}', and this is '{system.name}'")
    told = difference(header.parts, parts(system))
    if told:
        raise Foreign(f"the spec has changed since: {told}")


def restore(saved: Saved, system: System, compiled: Compiled, engine: Engine, meter: Meter) -> None:
    """Fill a new engine.  Raises Foreign, Unusable; Limit where the states do not fit; LimitReached."""
    header = saved.header
    if header.text != text_digest(compiled.text) or header.words != compiled.words:
        was = f" by hmmspec {header.hmmspec}" if header.hmmspec else ""
        raise Foreign(f"it was written{was} with an engine that differs from this one")
    used, sound = used_bits(system, compiled.layout), checks(system, compiled.layout)
    size, entered = 8 * compiled.words, 0
    for states in saved.states():
        count = len(states) // size
        done = engine.restore(states, count, used, sound)
        entered += done
        if engine.counted().stopped:
            taken = show_bytes(engine.counted().bytes)
            raise Limit(f"the {header.states} states of the checkpoint do not fit the memory: {entered} take {taken}")
        if done < count:
            raise Unusable(f"what it holds as state {entered} is no new state of this spec")
        meter.tick("restore", entered)
    if not engine.take(saved.control):
        raise Unusable("its numbers do not fit one another")
    engine.keep_lost()
    for states in saved.states(lost=True):
        if engine.restore(states, len(states) // size, used, sound, lost=True) < len(states) // size:
            raise Unusable("it holds something that is no state of this spec")
