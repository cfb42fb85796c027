"""What has to be shown for a proof, one problem for each file of a certificate.

    initiation-CLAIM    the claim holds at the start
    consecution-STEP    what is claimed of states holds after the step, if all that is claimed held before
    safety-PROPERTY     what is claimed of all states makes the property hold: in a state, or of every step
    start               there is a start state
    enabled-STEP        there is a state with all that is claimed in which the step is possible

The first three must have no solution, the others one: where a step is never possible in states with the invariant, what
is shown of it says nothing.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from hmmspec.checker.symbolic import ranks
from hmmspec.checker.symbolic.formulas import FALSE, Formula
from hmmspec.checker.symbolic.induction import Claim
from hmmspec.checker.symbolic.judging import judging_errors
from hmmspec.checker.symbolic.open_encoding import OpenEncoding
from hmmspec.checker.symbolic.open_values import Described, Known
from hmmspec.checker.symbolic.smt import Asserted, Problem, script
from hmmspec.checker.symbolic.steps import Step
from hmmspec.system.analyse import Analysis
from hmmspec.system.faults import members_of
from hmmspec.system.system import Rule, System
from hmmspec.system.types import Array, Bool, Type, cardinality, from_ordinal, is_scalar, show_type, show_value

LOCK_CYCLE, SPEC_ERROR = "lock_cycle", "spec_error"
SHOWN = 24  # values of a type that are listed in a remark


@dataclass(frozen=True)
class Obligation:
    """A file of a certificate.  rule: of `consecution` and `enabled`; empty: there is nothing to ask a solver."""

    kind: str  # 'initiation', 'consecution', 'safety', 'start', 'enabled'
    about: str
    file: str
    text: str
    expected: Literal["unsat", "sat"]
    rule: int | None = None
    empty: bool = False


class Obligations:
    """All that has to be shown of a System.  claims: what was proved; lemmas: what was found for it; of these, those
    that speak of states hold together in every state that is reached.  `never`: rules that are never possible.

    order: of the locks, as in `ranks`, where lock_cycle is among the claims.

    Raises Limit (NotFirstOrder) where something has no first-order meaning, ValueError for an order of other locks.
    """

    def __init__(
        self,
        system: System,
        every: Collection[str],
        claims: Sequence[Claim],
        lemmas: Sequence[Claim],
        order: Sequence[str] = (),
    ) -> None:
        self.system, self.every, self.claims, self.lemmas = system, tuple(every), claims, lemmas
        self.order = tuple(order)
        self.never: set[int] = set()
        self.encoding = OpenEncoding(system, frozenset(every))
        self.f, self.logic = self.encoding.f, self.encoding.v.logic
        self.invariant = [c for c in (*claims, *lemmas) if c.expr is not None and not c.step]
        self.states = [Asserted(c.name, self._holds(c)) for c in self.invariant]
        self._analysis = Analysis(system)
        self._reads = {c.name: self._analysis.reads(c.expr) for c in self.invariant if c.expr is not None}
        wanted = any(c.name == LOCK_CYCLE for c in claims)
        self.waits = self._waits() if wanted else []
        self._files = dict(zip((s.rule.number for s in self.encoding.steps), _file_names(system.rules), strict=True))

    def all(self) -> Iterator[Obligation]:
        """In a fixed order, with the same text every time."""
        for c in self.invariant:
            yield self._initiation(c)
        for step in self.encoding.steps:
            yield self._consecution(step)
        for c in self.claims:
            yield self._safety(c)
        yield self._start()
        for step in self.encoding.steps:
            yield self.enabled(step.rule.number)

    def _waits(self) -> list[ranks.Attempt]:
        try:
            return list(ranks.obligations(self.encoding, self.order))
        except ValueError:
            raise ValueError("the order of locks is not one of this spec") from None

    def rules(self, files: Collection[str]) -> set[int]:
        """Those whose `enabled` is one of these files."""
        return {number for number, name in self._files.items() if f"enabled-{name}.smt2" in files}

    # ------------------------------------------------------------ the kinds

    def _initiation(self, c: Claim) -> Obligation:
        title = f"initiation of {c.name}: it holds at the start"
        facts = (*self._axioms(), Asserted("the start", self.encoding.start()))
        question = Asserted(f"{c.name} does not hold", self._holds(c) ^ 1)
        return self._made("initiation", c.name, title, facts, [question])

    def _consecution(self, step: Step) -> Obligation:
        name = step.rule.name
        title = f"consecution of {name}: what is claimed of all states holds after it, if it held before"
        facts = (*self._axioms(), *self.states, Asserted(f"the step {name}", step.enabled))
        asked: list[Asserted] = []
        kept: list[str] = []
        for c in self.invariant:
            if all(step.after[v] is self.encoding.state[v] for v in self._reads[c.name]):
                kept.append(c.name)  # it is about nothing that the step changes
                continue
            assert c.expr is not None
            after = self.encoding.after(c.expr, step)
            asked.append(Asserted(f"{c.name} does not hold after it", self._sound(after.holds, after.wrong) ^ 1))
        remarks = [f"it changes nothing that is read by {', '.join(kept)}"] if kept else []
        return self._made("consecution", name, title, facts, asked, step, remarks)

    def _safety(self, c: Claim) -> Obligation:
        asked: list[Asserted] = []
        if c.name == LOCK_CYCLE:
            title = f"safety of {c.name}: whoever waits for a lock holds only locks before it"
            asked = [Asserted(str(a), a.condition) for a in self.waits]
            remarks = [f"the order of locks: {', '.join(self.order)}"]
            return self._made("safety", c.name, title, (*self._axioms(), *self.states), asked, None, remarks)
        if c.expr is not None and not c.step:
            title = f"safety of {c.name}: it holds in every state in which all that is claimed holds"
            asked = [Asserted(f"{c.name} does not hold", self._holds(c) ^ 1)]
            return self._made("safety", c.name, title, (*self._axioms(), *self.states), asked)
        title = f"safety of {c.name}: no step out of a state in which all that is claimed holds breaks it"
        for step in self.encoding.steps:
            if c.expr is None:
                bad = self.f.any(x.condition for x in step.findings if x.name == c.name)
                remark = f"{step.rule.name} ends in {c.name}"
            else:
                found = self.encoding.across(c.expr, step)
                bad = self.f.both(step.enabled, self._sound(found.holds, found.wrong) ^ 1)
                remark = f"{step.rule.name} breaks {c.name}"
            asked.append(Asserted(remark, bad))
        if c.name == SPEC_ERROR:
            asked += [Asserted(f"judging {name} is an error", bad) for name, bad in judging_errors(self.encoding)]
        return self._made("safety", c.name, title, (*self._axioms(), *self.states), asked)

    def _start(self) -> Obligation:
        title = "start: there is a start state"
        return self._made("start", "", title, self._axioms(), [Asserted("the start", self.encoding.start())])

    def enabled(self, number: int) -> Obligation:
        """Whether a rule is ever possible."""
        step = next(s for s in self.encoding.steps if s.rule.number == number)
        ends = self.f.any([step.enabled, *(x.condition for x in step.findings)])
        name = step.rule.name
        if number in self.never:
            title = f"never enabled: {name} is possible in no state in which all that is claimed holds"
        else:
            title = f"enabled: {name} is possible in some state in which all that is claimed holds"
        asked = [Asserted(f"the step {name}", ends)]
        return self._made("enabled", name, title, (*self._axioms(), *self.states), asked, step)

    # ------------------------------------------------------------ what they are made of

    def _made(
        self,
        kind: str,
        about: str,
        title: str,
        facts: Iterable[Asserted],
        asked: Sequence[Asserted],
        step: Step | None = None,
        remarks: Sequence[str] = (),
    ) -> Obligation:
        never = step is not None and step.rule.number in self.never
        expected: Literal["unsat", "sat"] = "sat" if kind == "start" or (kind == "enabled" and not never) else "unsat"
        if expected == "unsat":
            asked = [a for a in asked if a.formula != FALSE]
        head = (
            f"{self.system.name}, for every number of {', '.join(self.every)}",
            *self._remarks(),
            *remarks,
        )
        if asked:
            names = _argument_names(step) if step is not None else {}
            problem = Problem(title, tuple(facts), tuple(asked), expected, head, names)
            text = script(self.logic, problem)
        else:
            text = "".join(f"; {line}\n" for line in (title, *head, "there is nothing to show"))
        name = self._files[step.rule.number] if step is not None else _file_name(about)
        file = f"{kind}-{name}.smt2" if about else f"{kind}.smt2"
        return Obligation(kind, about, file, text, expected, step.rule.number if step else None, not asked)

    def _axioms(self) -> tuple[Asserted, ...]:
        return tuple(Asserted("what variables are", a) for a in self.encoding.v.axioms)

    def _holds(self, c: Claim) -> Formula:
        assert c.expr is not None
        found = self.encoding.before(c.expr)
        return self._sound(found.holds, found.wrong)

    def _sound(self, holds: Formula, wrong: Formula) -> Formula:
        """It holds, and evaluating it is no error."""
        return self.f.both(holds, wrong ^ 1)

    def _remarks(self) -> Iterator[str]:
        """How values of variables are told by bits."""
        for v in self.system.variables:
            t: Type = v.type
            while isinstance(t, Array):
                t = t.element
            if is_scalar(t) and not isinstance(t, Bool):
                told = self._values(t)
                if told:
                    yield f"{v.name}: {told}"

    def _values(self, t: Type) -> str:
        """Which number stands for which value, and which relation for which identities."""
        listed: list[str] = []
        told: list[str] = []
        for number, m in enumerate(members_of(t)):
            if self.encoding.v.is_open(m):
                told.append(f"->{number} {show_type(m)}")
            elif cardinality(m) <= SHOWN:
                listed += [show_value(m, from_ordinal(m, i)) for i in range(cardinality(m))]
            else:
                return ""
        if len(listed) > 1:
            told.append("bits " + ", ".join(f"{i} {x}" for i, x in enumerate(listed)))
        elif listed and told:
            told.append(f"none {listed[0]}")
        return "; ".join(told)


def _argument_names(step: Step) -> dict[str, str]:
    """The constants that stand for a rule's arguments, by its own names."""
    out: dict[str, str] = {}
    for p, value in zip(step.rule.params, step.arguments, strict=True):
        if isinstance(value, Described):
            for _, holder in value.options:
                if isinstance(holder, Known):
                    several = len(holder.terms) > 1
                    out |= {t.name: f"{p.name}.{i}" if several else p.name for i, t in enumerate(holder.terms)}
    return out


def _file_names(rules: Sequence[Rule]) -> Iterator[str]:
    """One for each rule; several may share a name."""
    seen: dict[str, int] = {}
    for r in rules:
        name = _file_name(r.name)
        seen[name] = seen.get(name, 0) + 1
        yield name if seen[name] == 1 else f"{name}-{seen[name]}"


def _file_name(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.]+", "_", name).strip("_.") or "_"
