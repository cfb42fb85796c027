"""A Hypothesis state machine over a target, to import and to extend.

    from hmmspec.conform.commands import Load, MigrateToDevice
    from hmmspec.conform.stateful import ConformanceMachine
    from hmmspec.conform.targets import open_target

    class MyMachine(ConformanceMachine):
        def make_target(self):
            return open_target("ref", {"profile": "6.12"})

        @rule(page=st.integers(0, 7))
        def there_and_back(self, page):
            self.do(MigrateToDevice("p0", "dev0", page))
            self.do(Load("p0", page))

    TestMine = MyMachine.TestCase

Every command goes through `do` (or `race`): it is carried out, judged, and taken into account by the generator of the
next ones.  Where something is wrong the example fails with the program and the log so far, and Hypothesis makes it
small.  One target serves all examples; it is reset for each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from hmmspec.conform.commands import Command
from hmmspec.conform.generate import Generator, RandomChooser, Shape, shape_for
from hmmspec.conform.judging import Judge
from hmmspec.conform.lastlook import last_looks
from hmmspec.conform.program import Race, Step, lines
from hmmspec.conform.racing import DataJudge
from hmmspec.conform.results import Result
from hmmspec.conform.strategies import DrawChooser
from hmmspec.conform.target import Finding, Target
from hmmspec.conform.targets import open_target
from hmmspec.conform.telling import log_lines

PROCESSES = ("spawn", "fork", "exit", "kill")
MAPPINGS = ("mmap", "munmap", "mprotect", "mremap", "madvise", "uffd_wp", "clear_soft_dirty")
ACCESSES = ("store", "load", "increment", "file_write", "file_read")
REFERENCES = ("gup", "peek", "poke", "unpin", "drain")
DEVICES = ("open", "close", "dev_read", "dev_write", "migrate_to_device", "migrate_to_system", "release_memory")
SEEN = ("snapshot", "pagemap", "smaps", "exclusive", "check_exclusive")
FAILURES = ("inject", "flags")


class Violation(AssertionError):
    """Something is wrong: what, in which program, and what was seen."""


class ConformanceMachine(RuleBasedStateMachine):
    """Random commands on a target, judged one by one.

    Override `make_target`, `make_judges` and `make_shape`; add rules.  The target and the judges are made once for each
    class and kept.
    """

    _made: ClassVar[dict[type, tuple[Target, Sequence[Judge]]]] = {}

    def __init__(self) -> None:
        super().__init__()
        cls = type(self)
        if cls not in self._made:
            target = self.make_target()
            self._made[cls] = target, self.make_judges(target)
        self.target, self.judges = self._made[cls]
        self.shape = self.make_shape(self.target)
        self.generator = Generator(self.shape, RandomChooser(0))
        self.program: list[Step] = []
        self._looked = 0
        self._failed = False
        self.target.reset()
        for judge in self.judges:
            judge.begin(self.target)

    # ---- what a subclass may change

    def make_target(self) -> Target:
        """The kernel under test: the reference kernel, stepped."""
        return open_target("ref")

    def make_judges(self, target: Target) -> Sequence[Judge]:
        """Who looks at the runs: the data; add followers of specs."""
        return (DataJudge(target.atomic),)

    def make_shape(self, target: Target) -> Shape:
        """What commands are like."""
        return shape_for(target, race=True, failures=True)

    # ---- what rules call

    def do(self, command: Command) -> Result:
        """Carry out one command and judge it.  Raises Violation."""
        self.program.append(command)
        self.generator.follow(command)
        result = self.target.run(command)
        self._look()
        return result

    def race(self, threads: Sequence[Sequence[Command]], seed: int = 0) -> list[list[Result | None]]:
        """Carry out several lists at once and judge what was seen.  Raises Violation."""
        self.program.append(Race(tuple(map(tuple, threads)), seed))
        for thread in threads:
            for command in thread:
                self.generator.follow(command)
        results = self.target.race(threads, seed)
        self._look()
        return results

    def choose(self, data: st.DataObject, words: Sequence[str]) -> Command:
        """A command with one of these names that fits what is mapped, open and held."""
        generator = Generator(self.shape, DrawChooser(data.draw))
        generator.memory = self.generator.memory
        generator.skip(len(self.program))
        weights: Mapping[str, int] = {w: n for w in words if (n := self.shape.words.get(w, 0))}
        return generator.choose(weights)

    # ---- rules

    @rule(data=st.data())
    def mapping(self, data: st.DataObject) -> None:
        self.do(self.choose(data, MAPPINGS))

    @rule(data=st.data())
    def access(self, data: st.DataObject) -> None:
        self.do(self.choose(data, ACCESSES))

    @rule(data=st.data())
    def device(self, data: st.DataObject) -> None:
        self.do(self.choose(data, DEVICES))

    @rule(data=st.data())
    def another_device(self, data: st.DataObject) -> None:
        self.do(self.choose(data, DEVICES))

    @rule(data=st.data())
    def look(self, data: st.DataObject) -> None:
        self.do(self.choose(data, SEEN))

    @rule(data=st.data())
    def process(self, data: st.DataObject) -> None:
        self.do(self.choose(data, PROCESSES))

    @rule(data=st.data())
    def reference(self, data: st.DataObject) -> None:
        self.do(self.choose(data, REFERENCES))

    @rule(data=st.data())
    def failure(self, data: st.DataObject) -> None:
        if self.shape.failures:
            self.do(self.choose(data, FAILURES))

    @rule(data=st.data())
    def racing(self, data: st.DataObject) -> None:
        if self.shape.race:
            generator = Generator(self.shape, DrawChooser(data.draw))
            generator.memory = self.generator.memory
            generator.skip(len(self.program))
            race = generator.race(follow=False)
            self.race(race.threads, race.seed)

    # ---- the end of an example

    def teardown(self) -> None:
        """Read everything back, end all processes, look for leaks."""
        if self._failed:
            return
        data = next((j for j in self.judges if isinstance(j, DataJudge)), None)
        if data is not None:
            self.target.run_all(last_looks(self.target.log, data))
            self._look()
        found = list(self.target.finish())
        for judge in self.judges:
            found += judge.finish()
        self._tell(found)

    def _look(self) -> None:
        found: list[Finding] = []
        for event in self.target.log[self._looked :]:
            for judge in self.judges:
                found += judge.feed(event)
        self._looked = len(self.target.log)
        self._tell(found or list(self.target.findings()))

    def _tell(self, found: Sequence[Finding]) -> None:
        if not found:
            return
        self._failed = True
        said = [
            str(found[0]),
            *(f"  {d}" for d in found[0].details),
            "program:",
            *(f"  {x}" for x in lines(self.program)),
        ]
        said += ["what was seen:", *(f"  {x}" for x in log_lines(self.target.log))]
        raise Violation("\n".join(said))


def machine(target: Target, judges: Sequence[Judge] | None = None, **attributes: Any) -> type[ConformanceMachine]:
    """A machine over a target that exists already; `machine(target).TestCase` is a test."""

    class Machine(ConformanceMachine):
        def make_target(self) -> Target:
            return target

        def make_judges(self, target: Target) -> Sequence[Judge]:
            return super().make_judges(target) if judges is None else judges

    for name, value in attributes.items():
        setattr(Machine, name, value)
    return Machine
