"""The whole C text of one System: heading, engine, values, defines, rules, checks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hmmspec.checker.native.canon import symmetry_heading, symmetry_text
from hmmspec.checker.native.exprs import Exprs, FaultSite, Scope, comment
from hmmspec.checker.native.graph import WholeRuns, no_runs, whole_runs
from hmmspec.checker.native.locks import lock_text
from hmmspec.checker.native.refinement import refinement_text
from hmmspec.checker.native.rules import Rules
from hmmspec.checker.native.values import CValues
from hmmspec.system import expr as E
from hmmspec.system import system as core
from hmmspec.system.layout import Layout, layout

ENGINE, SPILL, COMPACT = (Path(__file__).with_name(name) for name in ("engine.c", "spill.c", "compact.c"))
PACKED, PACKED_GOES_HERE = Path(__file__).with_name("packed.c"), "/* packed.c */"
HASHES = 40, 64  # bits of a state's hash that are kept; tests also take fewer
CHECKPOINT, SIMULATE = (Path(__file__).with_name(name) for name in ("checkpoint.c", "simulate.c"))


@dataclass(frozen=True)
class Compiled:
    """The C text of a system and what its numbers mean.

    findings: names by number: 'spec_error', 'deadlock', 'stuck' (by an assume), then those of checks and properties (a
    state that shows a reachable is a finding, too).
    questions, judged: what the engine's flags say by number: first questions that some state answered with yes, then
    properties that could not be evaluated somewhere.
    """

    text: str
    layout: Layout
    findings: tuple[str, ...]
    questions: tuple[str, ...]
    judged: tuple[str, ...]
    sites: tuple[FaultSite, ...]
    words: int
    runs: WholeRuns
    elements: int  # of locks
    hash_bits: int

    @property
    def direct(self) -> bool:
        """Whether a table can hold the states themselves."""
        return self.words == 1 and self.layout.end < 64 and not self.hash_bits


def generate(
    system: core.System,
    questions: dict[str, E.Expr] | None = None,
    symmetric: Sequence[str] = (),
    hash_bits: int = 0,
    simulated: bool = False,
) -> Compiled:
    """C for a System.

    questions: conditions of which only is asked whether any state fulfils them (the left sides of implications).
    symmetric: names of the symmetric types to reduce by.
    hash_bits: how many bits of a hash the table keeps of each state (hash compaction); 0: the states themselves.  There
    are no properties of whole runs then.
    simulated: for random runs (simulate.c); there are none of them then either.
    Raises Limit for what does not fit 64-bit numbers or is not compiled.
    """
    plan = layout(system)
    values = CValues()
    exprs = Exprs(system, plan, values)
    rules = Rules(exprs)
    asked = questions or {}
    reduced = [t for t in system.symmetric if t.name in symmetric and t.size >= 2]
    symmetry = symmetry_text(system, plan, values, reduced)
    bodies = [rules.rule(r) for r in system.rules]
    findings = _findings(system, rules)
    number = {name: i for i, name in enumerate(findings)}
    judged = ("deadlock", *(p.name for p in system.properties), *(["refines"] if system.refinement else []))
    runs = whole_runs(system, exprs) if not hash_bits and not simulated else no_runs(system)
    refinement = refinement_text(system, exprs, plan.words)
    locks = lock_text(system, exprs, number.get("lock_cycle", 0))
    checks = _Checks(system, exprs, number, tuple(asked.values()), judged).text()
    expand = ["static void expand(Ctx *c, const St *s) {", *(f"  rule_{r.number}(c, s);" for r in system.rules), "}"]
    heading = [
        f"#define WORDS {plan.words}",
        f"#define DIRECT {int(plan.words == 1 and plan.end < 64 and not hash_bits)}",
        f"#define HASH_BITS {hash_bits}",
        f"#define N_RULES {len(system.rules)}",
        f"#define N_FINDINGS {len(findings)}",
        f"#define N_SEEN {len(asked) + len(judged)}",
        f"#define HAS_ASSUMES {int(bool(system.assumes))}",
        f"#define HAS_STEPS {int(any(isinstance(p, core.StepProperty) for p in system.properties))}",
        *symmetry_heading(reduced),
        *locks.heading,
        *_refinement_heading(system, number, len(asked) + len(judged) - 1),
        f"#define FINDING_SPEC_ERROR {number['spec_error']}",
        f"#define FINDING_DEADLOCK {number['deadlock']}",
        f"#define FINDING_STUCK {number['stuck']}",
        "static const int check_finding[] = { 0, " + "".join(f"{number[c.name]}, " for c in rules.checks) + "};",
    ]
    text = "\n".join(
        [
            *heading,
            ENGINE.read_text(encoding="utf-8").replace(PACKED_GOES_HERE, PACKED.read_text(encoding="utf-8")),
            *(path.read_text(encoding="utf-8") for path in (SPILL, *([COMPACT] if hash_bits else ()))),
            symmetry,
            *values.text,
            *exprs.functions,
            *bodies,
            *expand,
            *checks,
            *locks.text,
            *refinement,
            runs.text,
            CHECKPOINT.read_text(encoding="utf-8"),
            *([SIMULATE.read_text(encoding="utf-8")] if simulated else ()),
            "",
        ]
    )
    return Compiled(
        text, plan, findings, tuple(asked), judged, tuple(exprs.sites), plan.words, runs, locks.elements, hash_bits
    )


def _findings(system: core.System, rules: Rules) -> tuple[str, ...]:
    names = ["spec_error", "deadlock", "stuck"]
    names += [c.name for c in rules.checks]
    for p in system.properties:
        if isinstance(p, core.Invariant | core.StepProperty | core.Reachable):
            names.append(p.name)
    names += ["lock_cycle"] if system.locks else []
    names += ["refines"] if system.refinement is not None else []
    return tuple(dict.fromkeys(names))


def _refinement_heading(system: core.System, number: dict[str, int], flag: int) -> list[str]:
    if system.refinement is None:
        return ["#define HAS_REFINEMENT 0"]
    return [
        "#define HAS_REFINEMENT 1",
        f"#define FINDING_REFINES {number['refines']}",
        f"#define FLAG_REFINES {flag}",
    ]


class _Checks:
    """C that looks at states and steps: `check_state`, `check_step`, `may_rest`, `assumed`."""

    def __init__(
        self,
        system: core.System,
        exprs: Exprs,
        number: dict[str, int],
        asked: tuple[E.Expr, ...],
        judged: tuple[str, ...],
    ) -> None:
        self.system, self.exprs, self.number, self.asked = system, exprs, number, asked
        self.flag = {name: len(asked) + i for i, name in enumerate(judged)}

    def text(self) -> list[str]:
        return [*self._state(), *self._step(), *self._assumed(), *self._may_rest()]

    def _state(self) -> list[str]:
        out = ["static void check_state(Ctx *c, const St *s) {"]
        for p in self.system.properties:
            if isinstance(p, core.Invariant):
                out += self._property(p, "!holds", Scope(), "keep", 0)
            elif isinstance(p, core.Reachable):
                out += self._property(p, "holds", Scope(), "keep", 0)
        for i, e in enumerate(self.asked):
            # Where it cannot even be evaluated it is not worth a warning.
            out.append(f"  if (!c->seen[{i}]) {{ V holds = {self.exprs.expr(e, Scope())};")
            out.append(f"    if (c->fault || holds) {{ c->fault = 0; c->seen[{i}] = 1; }} }}")
        return [*out, "  (void)s; (void)c;", "}"]

    def _step(self) -> list[str]:
        out = ["static void check_step(Ctx *c, const St *s, const St *t, int rule, V number) {"]
        for p in self.system.properties:
            if isinstance(p, core.StepProperty):
                out += self._property(p, "!holds", Scope("s", "t", {}), "keep_step", 1)
        return [*out, "  (void)rule; (void)number; (void)s; (void)t; (void)c;", "}"]

    def _property(
        self, p: core.Invariant | core.Reachable | core.StepProperty, shown: str, scope: Scope, keep: str, on_step: int
    ) -> list[str]:
        """Once no state can show it any better it is asked no more, unless it could still err."""
        number = self.number[p.name]
        always = self.exprs.analysis.can_fault(p.body)
        test = "" if always else f"if (!c->e->done[{number}]) "
        err = f"!erred(c, {self.flag[p.name]}, {on_step}) && " if always else ""
        return [
            f"  /* {comment(p.name)} */ {test}{{ V holds = {self.exprs.expr(p.body, scope)};",
            f"    if ({err}{shown}) {keep}(c, {number}); }}",
        ]

    def _assumed(self) -> list[str]:
        out = ["static int assumed(Ctx *c, const St *t) {"]
        for a in self.system.assumes:
            holds = self.exprs.expr(a.body, Scope("t"))
            out.append(f"  {{ V holds = {holds}; if (c->fault) return 1; if (!holds) return 0; }}")
        return [*out, "  (void)c; (void)t; return 1;", "}"]

    def _may_rest(self) -> list[str]:
        """Whether it is right that nothing moves: a terminal holds, or, without any, all threads have stopped."""
        out = ["static int may_rest(Ctx *c, const St *s) {"]
        for p in self.system.terminal:
            holds = self.exprs.expr(p.body, Scope())
            out.append(f"  {{ V holds = {holds}; if (erred(c, {self.flag['deadlock']}, 0) || holds) return 1; }}")
        if not self.system.terminal and self.system.threads:
            out.append(f"  if ({_all_stopped(self.system, self.exprs)}) return 1;")
        return [*out, "  (void)s; (void)c; return 0;", "}"]


def _all_stopped(system: core.System, exprs: Exprs) -> str:
    tests: list[str] = []
    for t in system.threads:
        v = system.variable(t.place)
        e: E.Expr = E.Var(v.name, v.type)
        binders: list[E.Binder] = []
        for i, index in enumerate(t.index):
            binders.append(E.Binder(f"i{i}", index, E.OverType(index)))
            inner = e.type
            e = E.Index(e, E.Local(f"i{i}", index), inner.element)  # type: ignore[union-attr]
        stands: E.Expr = E.Compare("==", e, E.Const(len(t.labels) - 1, e.type))
        if binders:
            stands = E.Quant("forall", tuple(binders), None, stands, stands.type)
        tests.append(exprs.expr(stands, Scope()))
    return " && ".join(tests)
