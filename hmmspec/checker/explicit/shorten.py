"""Runs cut short: a random run wanders about, and what it shows takes much less.

First loops and detours go (`across`), then whatever steps can be left out, in turns: all steps of a thread or a name,
all with the same arguments, and then halves, quarters.. down to single steps (delta debugging: Zeller and Hildebrandt,
2002).  The result need not be the shortest run.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from hmmspec.checker.explicit.findings import Args, Finding
from hmmspec.checker.explicit.looker import Looker, length
from hmmspec.records import dataclass
from hmmspec.system.run import Interpreter, State

_LOOKS = 6000  # states looked at in trying to leave out steps of one run; those with much to look at count for more
_MUCH = 4000  # slots of all that follows a state

Label = tuple[int, Args, int]  # rule, arguments, which of their outcomes


def kind_of(f: Finding) -> object:
    """What a shorter run must show, too: not another error of the spec, nor another circle of threads."""
    error = f.error or (f.fault[2] if f.fault else None)
    return (error.span.start, error.kind) if error else f.message


@dataclass(frozen=True)
class _Run:
    """length: with the step out of the last state that shows the finding, if it takes one."""

    states: tuple[State, ...]
    labels: tuple[Label, ...]
    length: int


class Shortener:
    """Shortens runs that end in a state that shows something.  An interrupt ends that alone (`interrupted`)."""

    def __init__(self, interp: Interpreter, looker: Looker) -> None:
        self.interp, self.looker = interp, looker
        self.interrupted = False
        self._looks = 0

    def shorter(self, states: Sequence[State], name: str, kind: object) -> list[State]:
        """A run to a state that shows a finding of this name and kind, as the last one of `states` does."""
        best = list(states)
        self._looks = _LOOKS
        while not self.interrupted:
            try:
                across = self.across(best)
                best = list(self._left_out(across, name, kind))
            except KeyboardInterrupt:
                self.interrupted = True
            else:
                if len(best) == len(across):
                    break
        return best

    def across(self, states: Sequence[State]) -> list[State]:
        """The shortest run through states of this one alone, to its last: without loops and with every shortcut."""
        inside, last = set(states), states[-1]
        parents: dict[State, State | None] = {states[0]: None}
        level = [states[0]]
        while last not in parents:
            following: list[State] = []
            for s in level:
                for _, _, t in self.interp.expand(s)[0]:
                    if t in inside and t not in parents:
                        parents[t] = s
                        following.append(t)
            level = following
        out: list[State] = []
        here: State | None = last
        while here is not None:
            out.append(here)
            here = parents[here]
        return out[::-1]

    def _left_out(self, states: Sequence[State], name: str, kind: object) -> tuple[State, ...]:
        labels = tuple(self._label(s, t) for s, t in pairwise(states))
        run = _Run(tuple(states), labels, len(labels) + self._steps_to(states[-1], name, kind, 1))
        for sort in (self._actor, lambda label: label[0], lambda label: label[:2]):
            for out in dict.fromkeys(map(sort, labels)):
                kept = [sort(label) != out for label in run.labels]
                run = self._again(run, kept, name, kind) or run
        size = len(run.labels) // 2
        while size:
            at, before = 0, run.length
            while at < len(run.labels):
                kept = [not at <= i < at + size for i in range(len(run.labels))]
                found = self._again(run, kept, name, kind)
                if found is None:
                    at += size
                else:
                    run = found
            size = size if size == 1 and run.length < before else size // 2
        return run.states

    def _actor(self, label: Label) -> object:
        """The thread whose step it is; each rule that is no thread's by itself."""
        rule = self.interp.system.rules[label[0]]
        return (rule.thread, label[1][: rule.index_arity]) if rule.thread is not None else rule.name

    def _label(self, s: State, t: State) -> Label:
        steps = self.interp.expand(s)[0]
        rule, args, _ = next(step for step in steps if step[2] == t)
        alike = [after for r, a, after in steps if (r, a) == (rule, args)]
        return rule, args, alike.index(t)

    def _steps_to(self, s: State, name: str, kind: object, otherwise: int) -> int:
        """How many more steps show the finding here: none or one; `otherwise` if nothing does."""
        steps, faults = self.interp.expand(s)
        found = self.looker.seen(0, s, steps, faults).get(name, ())
        return min((length(0, f) for f in found if kind_of(f) == kind), default=otherwise)

    def _again(self, run: _Run, kept: Sequence[bool], name: str, kind: object) -> _Run | None:
        """The run with these of its steps alone, and without what is not possible then; None if it is no use."""
        if all(kept):
            return None
        at = kept.index(False)
        states, labels = list(run.states[: at + 1]), list(run.labels[:at])
        rest = iter([label for label, keep in zip(run.labels[at:], kept[at:], strict=True) if keep])
        while len(labels) < run.length and self._looks > 0:
            steps, faults = self.interp.expand(states[-1])
            self._looks -= 1 + len(steps) * len(states[-1]) // _MUCH
            found = self.looker.seen(0, states[-1], steps, faults).get(name, ())
            more = min((length(0, f) for f in found if kind_of(f) == kind), default=None)
            if more is not None and len(labels) + more < run.length:
                return _Run(tuple(states), tuple(labels), len(labels) + more)
            step = None
            for label in rest:
                alike = [after for r, a, after in steps if (r, a) == label[:2]]
                if alike:
                    step = (*label[:2], min(label[2], len(alike) - 1)), alike[min(label[2], len(alike) - 1)]
                    break
            if step is None:
                return None
            labels.append(step[0])
            states.append(step[1])
        return None
