"""A walk through the states of one instance: where it is, how it came there, and the commands that move it."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from hmmspec.checker.check import check
from hmmspec.checker.options import CheckOptions
from hmmspec.checker.symbolic.begin import starts_of
from hmmspec.checker.trace import actor, changes, show_args, trace_of
from hmmspec.checker.verdict import Trace, TraceStep
from hmmspec.cli.args import shown
from hmmspec.cli.files import write_whole
from hmmspec.cli.limits import default_memory
from hmmspec.cli.retrace import Step, follow
from hmmspec.cli.specs import Loaded, expression
from hmmspec.cli.traces import read_trace
from hmmspec.cli.why import why
from hmmspec.diagnostics import SpecError, did_you_mean
from hmmspec.report.phrases import plural
from hmmspec.report.saved import SavedTrace, saved_to_json
from hmmspec.report.style import Style
from hmmspec.report.trace_text import TraceOptions, state_groups, step_title, trace_lines
from hmmspec.system.faults import Fault, SpecFault
from hmmspec.system.run import Interpreter, State, first_starts
from hmmspec.system.system import Invariant, StepProperty
from hmmspec.system.types import show_value

HELP = """\
  N              take step number N of the list
  l              list the possible steps again (l all: however many)
  u [N]          undo the last step (the last N)
  r [N]          take a random step (N of them)
  s              the whole state
  c              the way here: every step and what it changed
  i [N]          begin again, in start state number N
  g TRACE [N]    go to step N (default: the last) of a saved trace, or of
                 the counterexample of a property: runs a check
  p EXPR         the value of an expression, or of one cell, here
  why STEP       what keeps a step from being possible here
  w FILE         save the way here as a trace
  ?              this list
  q              quit"""

_LISTED = 30
_TITLE = 36  # columns for the name of a step in the list
_STARTS = 1000
_CANDIDATES = 300_000  # for start states that are looked at


@dataclass(frozen=True)
class _Choice:
    """A possible step: with the state it leads to, or the fault that it ends in."""

    rule: int
    args: tuple[object, ...]
    result: State | Fault


class Walker:
    """Holds the walk.  Everything is printed; `command` never raises for what a user types."""

    def __init__(
        self, loaded: Loaded, interp: Interpreter, overrides: Mapping[str, str], seed: int, style: Style
    ) -> None:
        self.loaded, self.interp, self.overrides, self.seed, self.style = loaded, interp, overrides, seed, style
        self.random = random.Random(seed)
        self.system = interp.system
        self.start: State | None = None
        self.steps: list[Step] = []
        self.choices: list[_Choice] = []
        self.commands: dict[str, Callable[[list[str]], None]] = {
            "l": self._list,
            "u": self._undo,
            "r": self._random,
            "s": self._state,
            "c": self._changes,
            "i": self._begin_again,
            "g": self._go,
            "p": self._print,
            "why": self._why,
            "w": self._write,
            "?": lambda _: print(HELP),
        }

    def begin(self, number: int = 1) -> bool:
        """Go to a start state.  Returns whether there is one."""
        try:
            starts, hidden = first_starts(self.interp, max(_STARTS, number), _CANDIDATES)
        except SpecFault as error:
            print(f"there is no start state: an assume errs at the start: {error.fault.message}")
            return False
        if hidden:
            print("an assume excludes nearly all start states: only some were looked for")
            starts = starts or list(starts_of(self.interp).states)
            if not starts:
                print("none was found: fewer free variables, or a smaller instance, may help")
                return False
        if not starts:
            fault = self.interp.initial_fault
            print("there is no start state" + (f": {fault.message}" if fault else ""))
            return False
        if not 1 <= number <= len(starts):
            print(f"there are {len(starts)} start states: 1 to {len(starts)}")
            return True
        if len(starts) > 1:
            many = f"{len(starts)} or more" if len(starts) >= _STARTS else str(len(starts))
            print(f"start state {number} of {many} (i N takes another)")
        self.start, self.steps = starts[number - 1], []
        self._state([])
        self._arrived()
        return True

    def command(self, line: str) -> None:
        """Do what one line says."""
        words = line.split()
        name, rest = (words[0], words[1:]) if words else ("l", [])
        try:
            if name.isdecimal():
                self._take(int(name))
            elif name in self.commands:
                self.commands[name](rest)
            else:
                print(f"there is no command '{name}': ? lists them")
        except SpecError as error:
            for d in error.diagnostics:
                print(shown(d))
        except SpecFault as error:
            print(f"error of the spec: {error.fault.message}")

    @property
    def here(self) -> State:
        """The state of the walk."""
        assert self.start is not None
        return self.steps[-1][2] if self.steps else self.start

    # ------------------------------------------------------------ moving

    def _take(self, number: int) -> None:
        if not 1 <= number <= len(self.choices):
            print(f"there is no step {number} in the list")
            return
        choice = self.choices[number - 1]
        if isinstance(choice.result, Fault):
            print(f"{self._title(choice)} fails: {choice.result.message}")
            print("the run would end there; you are where you were")
            return
        before = self.interp.cells(self.here)
        self.steps.append((choice.rule, choice.args, choice.result))
        print(f"step {len(self.steps)}: {self._title(choice)}")
        self._print_changes(before, self.interp.cells(choice.result))
        self._arrived()

    def _undo(self, words: list[str]) -> None:
        count = _number(words, 1)
        if count is None or not self.steps:
            print("nothing to undo" if count is not None else "u wants a number")
            return
        del self.steps[-count:]
        print(f"back after {plural(len(self.steps), 'step')}")
        self._arrived()

    def _random(self, words: list[str]) -> None:
        count = _number(words, 1)
        if count is None:
            print("r wants a number")
            return
        for _ in range(count):
            possible = [i for i, c in enumerate(self.choices, 1) if not isinstance(c.result, Fault)]
            if not possible:
                print("no further step from here")
                return
            choice = self.choices[self.random.choice(possible) - 1]
            assert not isinstance(choice.result, Fault)
            before = self.interp.cells(self.here)
            self.steps.append((choice.rule, choice.args, choice.result))
            print(f"step {len(self.steps)}: {self._title(choice)}")
            self._print_changes(before, self.interp.cells(choice.result))
            self._find_choices()
            self._judge()
        self._list([])

    def _begin_again(self, words: list[str]) -> None:
        number = _number(words, 1)
        if number is None:
            print("i wants the number of a start state")
        else:
            self.begin(number)

    def _go(self, words: list[str]) -> None:
        number = _number(words[1:], -1)
        if not words or number is None:
            print("g wants a saved trace or a property, and perhaps the number of a step")
            return
        trace = read_trace(words[0]).trace if Path(words[0]).is_file() else self._counterexample(words[0])
        if trace is None:
            return
        followed = follow(self.interp, trace)
        if followed.start is None:
            print(followed.problem)
            return
        self.start = followed.start
        self.steps = list(followed.steps if number < 0 else followed.steps[:number])
        if followed.problem:
            print(followed.problem)
        print(f"after step {len(self.steps)} of {trace.length}")
        self._state([])
        self._arrived()

    def _counterexample(self, name: str) -> Trace | None:
        known = {p.name for p in self.system.properties}
        print("checking ...", flush=True)
        report = check(self.system, CheckOptions(memory=default_memory(), seed=self.seed, expectations=False))
        found = next((v for v in report.verdicts if v.property == name), None)
        if found is None:
            known |= {v.property for v in report.verdicts}
            print(f"there is no trace file and no property '{name}'" + _hint(did_you_mean(name, known)))
            return None
        trace = found.trace or found.witness
        if trace is None:
            print(f"{name} has no counterexample in instance {self.system.instance}")
        return trace

    # ------------------------------------------------------------ showing

    def _arrived(self) -> None:
        self._find_choices()
        self._judge()
        self._list([])

    def _find_choices(self) -> None:
        steps, failures = self.interp.expand(self.here)
        self.choices = [_Choice(*step) for step in steps] + [_Choice(*failure) for failure in failures]

    def _judge(self) -> None:
        """Say which properties the state, and the step that led to it, break."""
        for p in self.system.properties:
            try:
                if isinstance(p, Invariant):
                    holds = bool(self.interp.evaluate(p.body, self.here))
                elif isinstance(p, StepProperty) and self.steps:
                    before = self.steps[-2][2] if len(self.steps) > 1 else self.start
                    assert before is not None
                    holds = bool(self.interp.evaluate(p.body, before, self.here))
                else:
                    continue
                told = "" if holds else f"{p.name} is violated here" + (f': "{p.text}"' if p.text else "")
            except SpecFault as error:
                told = f"{p.name} cannot be judged here: {error.fault.message}"
            if told:
                print(self.style.paint(told, "bad"))

    def _list(self, words: list[str]) -> None:
        if not self.choices:
            stuck = self.interp.dropped_by_assume(self.here)
            print("no step is possible" + (" that an assume allows" if stuck else ""))
            return
        most = len(self.choices) if words == ["all"] else _LISTED
        shown = [(self._title(choice), choice.result) for choice in self.choices[:most]]
        digits = len(str(len(shown)))
        column = min(_TITLE, max(len(title) for title, _ in shown))
        before = self.interp.cells(self.here)
        for number, (title, result) in enumerate(shown, 1):
            if isinstance(result, Fault):
                told = f"fails: {result.message}"
            else:
                made = changes(before, self.interp.cells(result))
                told = ", ".join(f"{c.cell}: {c.before} -> {c.after}" for c in made) or "(nothing changes)"
            head = f"  {number:>{digits}}  {title:<{column}}  "
            for line in self.style.wrap(told, head, " " * (digits + column + 6)):
                print(line)
        if len(self.choices) > most:
            print(f"  and {len(self.choices) - most} more (l all)")

    def _print_changes(self, before: Mapping[str, str], after: Mapping[str, str]) -> None:
        made = changes(before, after)
        for c in made:
            for line in self.style.wrap(f"{c.cell}: {c.before} -> {c.after}", "    ", "        "):
                print(line)
        if not made:
            print("    (nothing changes)")

    def _state(self, _words: list[str]) -> None:
        for group in state_groups(self.interp.cells(self.here)):
            for line in self.style.wrap_items(group, ", ", "  ", "      "):
                print(line)

    def _changes(self, _words: list[str]) -> None:
        for line in trace_lines(self._trace(), self.style, TraceOptions(path=self.system.path)):
            print(line)

    def _why(self, words: list[str]) -> None:
        names = list(dict.fromkeys(rule.name for rule in self.system.rules))
        if len(words) != 1 or words[0] not in names:
            hint = did_you_mean(words[0], names) if words else None
            print("why wants the name of a step" + _hint(hint or f"the steps are {', '.join(names)}"))
            return
        for line in why(self.interp, self.here, words[0]):
            for part in self.style.wrap(line, "  ", "      "):
                print(part)

    def _print(self, words: list[str]) -> None:
        if not words:
            print("p wants an expression")
            return
        text = " ".join(words)
        cells = self.interp.cells(self.here)
        if text in cells:  # `place[page0]`: the language has no name for one identity, but the state shows them
            print(f"  {cells[text]}")
            return
        e = expression(self.loaded, self.system, self.overrides, text)
        print(f"  {show_value(e.type, self.interp.evaluate(e, self.here))}")

    def _write(self, words: list[str]) -> None:
        if len(words) != 1:
            print("w wants the name of a file")
            return
        saved = SavedTrace(
            spec=self.system.name,
            path=self.loaded.path,
            instance=self.system.instance,
            params=tuple((name, show_value(t, value)) for name, value, t in self.system.params),
            overrides=self.overrides,
            property="walk",
            text="a walk, step by step",
            seed=self.seed,
            digest=self.loaded.digest,
            trace=self._trace(),
        )
        write_whole(Path(words[0]), saved_to_json(saved))
        print(f"saved {plural(len(self.steps), 'step')} in {words[0]}")

    def _trace(self) -> Trace:
        assert self.start is not None
        return trace_of(self.interp, self.start, self.steps)

    def _title(self, choice: _Choice) -> str:
        rule = self.system.rules[choice.rule]
        return step_title(TraceStep(rule.name, actor(rule, choice.args), show_args(rule, choice.args), (), {}))


def _number(words: list[str], default: int) -> int | None:
    """The number that a command was given, or the default; None for anything else."""
    if not words:
        return default
    return int(words[0]) if len(words) == 1 and words[0].isdecimal() else None


def _hint(told: str | None) -> str:
    return f": {told}" if told else ""
