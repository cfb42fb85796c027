"""From what the explicit engine saw to verdicts: one for each property, in the order of the file, then the built-in."""

from __future__ import annotations

from collections.abc import Iterator

from hmmspec.checker.explicit.engine import Explored
from hmmspec.checker.explicit.findings import Finding
from hmmspec.checker.explicit.runs import RealLasso, Walker, around, walk
from hmmspec.checker.explicit.temporal import Broken
from hmmspec.checker.trace import blame_for, trace_of
from hmmspec.checker.verdict import Blame, Level, Status, Trace, Verdict
from hmmspec.diagnostics import Span
from hmmspec.system.expr import Expr
from hmmspec.system.faults import Fault
from hmmspec.system.system import (
    AssertProperty,
    Invariant,
    LeadsTo,
    Property,
    Reachable,
    Recoverable,
    StepProperty,
)
from hmmspec.system.types import show_value

_KINDS: dict[type[Property], str] = {
    Invariant: "invariant",
    StepProperty: "step",
    AssertProperty: "assert",
    Reachable: "reachable",
    LeadsTo: "leads_to",
    Recoverable: "recoverable",
}
_TEXTS = {
    "spec_error": "no step and no property is an error of the spec",
    "deadlock": "some step is always possible, or a terminal holds",
    "double_acquire": "no thread acquires a lock that it holds",
    "foreign_release": "no thread releases a lock that it does not hold",
    "held_at_stop": "no thread stops or restarts with a lock held",
    "lock_cycle": "no threads wait for one another's locks in a circle",
    "lock_order": "no two locks are taken in both orders",
    "refines": "every step is a step of the abstract spec, or changes nothing there",
}


class Judge:
    """Makes verdicts of what was explored.  max_traces: how many counterexamples each; witness: whether a `reachable`
    that holds gets a run that shows it."""

    def __init__(self, explored: Explored, max_traces: int = 1, witness: bool = True) -> None:
        self.x = explored
        self.interp = explored.interp
        self.system = explored.interp.system
        self.max_traces, self.witness = max(1, max_traces), witness
        # Without any start state nothing was shown; where the start itself is an error that is the finding.
        self.complete = explored.graph.complete and bool(explored.graph.stored or explored.graph.start_erred)
        # Where a state or a start may have been missed there may be a shorter way.
        missed = explored.hashed is not None or explored.graph.some_starts
        self.shortest = Level.VIOLATED if missed else Level.VIOLATED_SHORTEST

    def verdicts(self) -> Iterator[Verdict]:
        for p in self.system.properties:
            yield self.of_property(p)
        names = ["spec_error", "deadlock"]
        if self.system.locks:
            names += ["double_acquire", "foreign_release", "held_at_stop", "lock_cycle", "lock_order"]
        if self.system.refinement is not None:
            names.append("refines")
        for name in names:
            yield self.built_in(name)

    # ------------------------------------------------------------ one property

    def of_property(self, p: Property) -> Verdict:
        kind = _KINDS[type(p)]
        if isinstance(p, LeadsTo):
            return self._leads_to(p)
        found = self.x.findings.of(p.name)
        if isinstance(p, Reachable):
            return self._reachable(p, found)
        if found:
            traces = self._distinct(p, found)
            return self._violated(p.name, kind, p.text, traces, self.shortest, p.span, self._why(p))
        return self._not_violated(p.name, kind, p.text, p.span)

    def _why(self, p: Property) -> str:
        if isinstance(p, Recoverable):
            return "the trace leads to a state from which no path leads back"
        return ""

    def _reachable(self, p: Reachable, found: list[Finding]) -> Verdict:
        if found:
            witness = self._trace(found[0].number) if self.witness else None
            return Verdict(p.name, "reachable", p.text, Status.HOLDS, Level.EXHAUSTIVE, span=p.span, witness=witness)
        if not self.complete:
            return self._not_violated(p.name, "reachable", p.text, p.span)
        erred = p.name in self.x.findings.unjudged
        return Verdict(
            p.name,
            "reachable",
            p.text,
            Status.VIOLATED,
            Level.EXHAUSTIVE if self.x.hashed is None else Level.HASHED,
            remark=f"no {'reachable state' if self.x.hashed is None else 'state that was found'} makes it true"
            + (" (in some, it cannot be evaluated)" if erred else ""),
            span=p.span,
        )

    def _leads_to(self, p: LeadsTo) -> Verdict:
        remark = self._reduction_remark()
        broken = self.x.broken.get(p.name, [])
        if broken:
            traces = [self._lasso(p, b) for b in broken]
            return self._violated(p.name, "leads_to", p.text, traces, Level.VIOLATED, p.span, remark)
        return self._not_violated(p.name, "leads_to", p.text, p.span, remark)

    def _reduction_remark(self) -> str:
        tracked = ", ".join(t.name for t in self.x.tracked)
        if tracked:
            return f"on the quotient, permutations of {tracked} tracked"
        unreduced = ", ".join(t.name for t in self.x.unreduced)
        return f"on the full graph as to {unreduced}, whose identities matter" if unreduced else ""

    # ------------------------------------------------------------ built-in findings

    def built_in(self, name: str) -> Verdict:
        found = self.x.findings.of(name)
        text = _TEXTS[name]
        if name == "lock_order":
            return self._lock_order(text)
        if found:
            traces = [self._trace_to(f) for f in self._spread(found)]
            remark = found[0].message if name in ("lock_cycle", "refines") else ""
            return self._violated(name, "built-in", text, traces, self.shortest, None, remark)
        if name == "deadlock" and (stuck := self.x.findings.of("stuck")):
            return Verdict(
                name,
                "built-in",
                text,
                Status.WARNING,
                self.shortest,
                trace=self._trace_to(stuck[0]),
                remark="only an assume keeps every step from this state",
            )
        return self._not_violated(name, "built-in", text, None)

    def _lock_order(self, text: str) -> Verdict:
        found = self.x.lock_order.both_orders() if self.x.lock_order is not None else []
        if not found:
            return self._not_violated("lock_order", "built-in", text, None)
        traces = [self._trace_to(f) for f in found[: self.max_traces]]
        return Verdict(
            "lock_order",
            "built-in",
            text,
            Status.WARNING,
            Level.VIOLATED,
            trace=traces[0],
            others=tuple(traces[1:]),
            remark="; ".join(f.message for f in found),
        )

    # ------------------------------------------------------------ the common part

    def _violated(
        self, name: str, kind: str, text: str, traces: list[Trace], level: Level, span: Span | None, remark: str
    ) -> Verdict:
        return Verdict(
            name,
            kind,
            text,
            Status.VIOLATED,
            level,
            trace=traces[0],
            others=tuple(traces[1:]),
            expected=False,
            remark=remark,
            span=span,
        )

    def _not_violated(self, name: str, kind: str, text: str, span: Span | None, remark: str = "") -> Verdict:
        status, level = Status.HOLDS, Level.HASHED if self.x.hashed is not None else Level.EXHAUSTIVE
        if not self.complete or name in self.x.pending:
            status, level = Status.UNKNOWN, Level.INCOMPLETE
            if self.x.hashed is not None and name in self.x.pending:
                remark = "needs the graph of all states"
        elif self.x.graph.start_erred:
            remark = "the start itself is a spec error: there is no run to judge"
        elif name in self.x.findings.unjudged:
            # A run that ends in an error is judged for nothing else.
            remark = "wherever it can be evaluated: in some state that is a spec error (see spec_error)"
        return Verdict(name, kind, text, status, level, remark=remark, span=span)

    # ------------------------------------------------------------ traces

    def _walk(self, number: int) -> Walker:
        return walk(self.interp, self.x.states, self.x.symmetry, self.x.graph.path(number))

    def _trace(self, number: int) -> Trace:
        run = self._walk(number).run
        return trace_of(self.interp, run.start, run.steps)

    def _trace_to(self, f: Finding, body: Expr | None = None) -> Trace:
        """The trace of a finding; `body`: the property that it breaks, to say why."""
        if f.number < 0:
            assert f.error is not None
            return Trace({}, (), blame=_fault_blame(f.error), message=f.error.message)
        walker = self._walk(f.number)
        if f.fault is not None:
            rule, args, fault = walker.fault(f.fault[0], f.fault[2])
            final, blame = (rule, args), _fault_blame(fault)
            run = walker.run
            return trace_of(self.interp, run.start, run.steps, final=final, blame=blame, message=fault.message)
        message = f.message
        blame_here: Blame | None = None
        if f.step is not None:
            before = walker.run.last
            walker.step(f.step[0], f.step[2])
            if body is not None:
                blame_here = blame_for(self.interp, body, before, walker.run.last)
        elif body is not None:
            blame_here = blame_for(self.interp, body, walker.run.last)
        if f.error is not None:
            blame_here, message = _fault_blame(f.error), f"{f.error.message} ({f.message})"
        run = walker.run
        return trace_of(self.interp, run.start, run.steps, blame=blame_here, message=message)

    def _distinct(self, p: Property, found: list[Finding]) -> list[Trace]:
        """Up to `max_traces` traces, first those that fail for different reasons."""
        body = p.body if isinstance(p, (Invariant, StepProperty)) else None
        if self.max_traces == 1:
            return [self._trace_to(found[0], body)]
        traces = [self._trace_to(f, body) for f in found]
        seen: set[object] = set()
        fresh: list[Trace] = []
        again: list[Trace] = []
        for t in traces:
            why = (t.blame.conjunct, t.blame.bindings) if t.blame else (t.message, t.final and t.final.rule)
            (again if why in seen else fresh).append(t)
            seen.add(why)
        return (fresh + again)[: self.max_traces]

    def _spread(self, found: list[Finding]) -> list[Finding]:
        """Up to `max_traces` findings, first those of different kinds."""
        seen: set[object] = set()
        fresh: list[Finding] = []
        again: list[Finding] = []
        for f in found:
            error = f.error or (f.fault[2] if f.fault else None)
            what = (error.span.start, error.kind) if error else f.message
            (again if what in seen else fresh).append(f)
            seen.add(what)
        return (fresh + again)[: self.max_traces]

    def _lasso(self, p: LeadsTo, b: Broken) -> Trace:
        lasso = b.lasso
        if isinstance(lasso, RealLasso):
            run, begin, rests = lasso.run, lasso.loop, lasso.loop == len(lasso.run.steps)
        else:
            walker = walk(self.interp, self.x.states, self.x.symmetry, lasso.stem)
            begin, rests = len(walker.run.steps), not lasso.loop
            if lasso.loop:
                assert self.x.units is not None
                around(walker, lasso.loop, self.x.units)
            run = walker.run
        bound = tuple((name, show_value(c.type, c.value)) for name, c in b.binding)
        where = f" for {', '.join(f'{n} = {v}' for n, v in bound)}" if bound else ""
        ending = "the run stays in its last state" if rests else "the loop repeats for ever"
        message = f"the left side holds in state {lasso.pending}{where}, the right side never after: {ending}"
        blame = Blame(p.right.span.text, bound, (), p.right.span)
        return trace_of(self.interp, run.start, run.steps, loop=begin, blame=blame, message=message)


def _fault_blame(fault: Fault) -> Blame:
    return Blame(fault.span.text, (), (), fault.span)
