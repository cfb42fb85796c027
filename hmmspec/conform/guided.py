"""A search for what was never exercised: what is missing is planned for, and programs that reached something new are
kept and varied.

Plain random programs come seldom to a transition that wants five commands in a row.  Here every second program is a
*plan*: commands that lead to a missing transition by what the spec and its binding say (`planned.py`), perhaps with
others between.  And a program that exercised a transition (or gave a result) for the first time goes into a collection;
further ones are made by going on from one of it, putting two together, or taking something out, and commands that are
seldom come as often as others.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from hmmspec.conform.commands import POINTS, Inject
from hmmspec.conform.follow.follower import Follower
from hmmspec.conform.generate import Generator, RandomChooser, Shape
from hmmspec.conform.planned import Planner
from hmmspec.conform.program import Program, Step, commands_of
from hmmspec.conform.session import Explorer, Session, Stop

LONGEST = 80  # steps of a program that is made of others


@dataclass
class _Kept:
    program: Program
    new: frozenset[tuple[str, str]]
    used: int = 0


class Guide:
    """Searches with an explorer's target, judges and account."""

    def __init__(self, explorer: Explorer, seed: int) -> None:
        self._explorer = explorer
        self._random = random.Random(seed)
        self._kept: list[_Kept] = []
        self._seen: set[tuple[str, str]] = set(self._covered())
        self._planners = {j.name: Planner(j.loaded, self._random) for j in explorer.judges if isinstance(j, Follower)}

    def search(self, steps: int) -> Session:
        """So many commands more, or until every transition was exercised, or something is wrong."""
        explorer = self._explorer
        goal = explorer.session.commands + steps
        try:
            while explorer.session.commands < goal and not explorer.failed and self.missing():
                self._one()
        except Stop:
            pass
        except KeyboardInterrupt:
            explorer.interrupt()
        return explorer.session

    def missing(self) -> set[tuple[str, str]]:
        """(spec, transition) that were never exercised, although they may happen on this target."""
        explorer = self._explorer
        every = {
            (j.name, t)
            for j in explorer.judges
            for t in getattr(j, "all_transitions", tuple)()
            if t not in explorer.ruled_out(j)
        }
        return every - self._covered()

    def _one(self) -> None:
        program = self._make()
        outcome = self._explorer.run(program)
        called = {e.call: e.command.word for e in outcome.log if e.command is not None}
        results = {(called[e.call], e.result.error) for e in outcome.log if e.result is not None and e.call in called}
        new = frozenset((self._covered() | results) - self._seen)
        if new:
            self._seen |= new
            self._kept.append(_Kept(program, new))

    def _covered(self) -> set[tuple[str, str]]:
        out: set[tuple[str, str]] = set()
        for judge in self._explorer.judges:
            covered = getattr(judge, "covered", None)
            if covered is not None:
                out |= {(judge.name, t) for t, times in covered().items() if times}
        return out

    # ---- making programs

    def _make(self) -> Program:
        if self._random.random() < 0.5 and (planned := self._planned()):
            return planned
        chance = self._random.random()
        if not self._kept or chance < 0.15:
            return self._grown(())
        first = self._pick()
        if chance < 0.5:
            return self._grown(first)
        if chance < 0.7:
            cut = self._random.randrange(len(first) + 1)
            return self._grown(first[:cut])
        if chance < 0.9:
            other = self._pick()
            return (first + other[self._random.randrange(len(other) + 1) :])[:LONGEST]
        return tuple(step for step in first if self._random.random() > 0.15)

    def _planned(self) -> Program:
        """A plan for something missing; () if there is none."""
        missing = sorted((spec, t) for spec, t in self.missing() if spec in self._planners)
        if not missing:
            return ()
        spec, transition = self._random.choice(missing)
        shape, target = self._explorer.plan.shapes[0], self._explorer.target
        page = self._random.randrange(max(1, shape.pages - 3))
        made = self._planners[spec].plan(transition, page, shape.devices, 1)
        steps: list[Step] = [command for command in made if target.supports(command)]
        if steps and any(s.failures for s in self._explorer.plan.shapes) and self._random.random() < 0.4:
            # Some things happen only where something fails.
            fails = Inject(self._random.choice(POINTS), self._random.randint(1, 2))
            steps[-1:] = [fails, steps[-1]] if target.supports(fails) else steps[-1:]
        if self._random.random() < 0.3 and steps:
            at = self._random.randrange(len(steps))
            return (*self._grown(steps[:at])[: at + 4], *steps[at:])
        return tuple(steps)

    def _pick(self) -> Program:
        """One of the collection; those that were used less often come sooner."""
        some = self._random.sample(self._kept, min(4, len(self._kept)))
        best = min(some, key=lambda k: k.used)
        best.used += 1
        return best.program

    def _grown(self, begin: Sequence[Step]) -> Program:
        """A program that goes on from this beginning."""
        generator = Generator(self._shape(), RandomChooser(self._random))
        for step in begin:
            for command in commands_of((step,)):
                generator.follow(command)
        generator.skip(len(begin))
        more = self._random.randint(3, 25)
        return (*begin, *(generator.step() for _ in range(min(more, LONGEST - len(begin)))))

    def _shape(self) -> Shape:
        """Now and then all commands come equally often, or only a few kinds of them come at all."""
        shape = self._random.choice(self._explorer.plan.shapes)
        words = dict(shape.words)
        chance = self._random.random()
        if chance < 0.35:
            words = {w: 4 for w, n in words.items() if n}
        elif chance < 0.65:
            chosen = set(self._random.sample(sorted(words), min(6, len(words)))) | {"mmap", "open", "store"}
            words = {w: 4 for w, n in words.items() if n and w in chosen}
        return replace(shape, words=words)
