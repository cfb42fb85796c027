"""Properties, fairness, events, observations, anchors, proof goals and expectations of one instance."""

from __future__ import annotations

from dataclasses import dataclass, field

from hmmspec.diagnostics import did_you_mean
from hmmspec.lang import syntax as S
from hmmspec.system import expr as E
from hmmspec.system import system as core
from hmmspec.system.elaborate.scope import Env, kind_of
from hmmspec.system.elaborate.typing import Typer
from hmmspec.system.types import Symmetric

LOCK_FINDINGS = ("double_acquire", "foreign_release", "held_at_stop", "lock_cycle")


@dataclass
class RuleIndex:
    """Which rules a step name means: (transition, arrow name or thread, label or None) -> rule numbers.

    labels: per thread its labels and which are one with another.
    """

    rules: dict[tuple[str, str | None], list[int]] = field(default_factory=dict)
    labels: dict[str, tuple[set[str], dict[str, str]]] = field(default_factory=dict)

    def renumbered(self, new: dict[int, int]) -> RuleIndex:
        """After some rules have gone."""
        return RuleIndex({k: [new[n] for n in v if n in new] for k, v in self.rules.items()}, self.labels)


@dataclass(frozen=True)
class Parts:
    """What `Rest` contributes to a System."""

    properties: tuple[core.Property, ...]
    terminal: tuple[core.Predicate, ...]
    assumes: tuple[core.Predicate, ...]
    fairness: tuple[core.Fairness, ...]
    events: tuple[core.EventSet, ...]
    observations: tuple[core.Observation, ...]
    anchors: tuple[core.Anchor, ...]
    proofs: tuple[core.ProofGoal, ...]
    expectation: core.Expectation


class Rest:
    """Reads all declarations that are neither variables nor steps."""

    def __init__(
        self,
        spec: S.Spec,
        instance: str,
        typer: Typer,
        index: RuleIndex,
        rules: tuple[core.Rule, ...],
        asserts: dict[str, core.AssertProperty],
    ) -> None:
        self.spec = spec
        self.instance = instance
        self.typer = typer
        self.names = typer.names
        self.diagnostics = typer.diagnostics
        self.index = index
        self.rules = rules
        self.asserts = asserts

    def parts(self) -> Parts:
        properties: list[core.Property] = []
        terminal: list[core.Predicate] = []
        assumes: list[core.Predicate] = []
        fairness: list[core.Fairness] = []
        events: list[core.EventSet] = []
        observations: list[core.Observation] = []
        anchors: list[core.Anchor] = []
        proofs: list[core.ProofGoal] = []
        for d in self.spec.declarations:
            match d:
                case S.Property("terminal"):
                    terminal.append(self._predicate(d))
                case S.Property("assume"):
                    assumes.append(self._predicate(d))
                case S.Property():
                    properties.append(self._property(d))
                case S.Fair(strong, steps):
                    for s in steps:
                        fairness.extend(self._fairness(strong, s))
                case S.Event(steps):
                    events.append(core.EventSet(tuple(n for s in steps for n in self._rules_of(s)), span=d.span))
                case S.Observe():
                    observations.append(self._observation(d))
                case S.SourceAnchor(path, symbol, steps):
                    numbers = tuple(n for s in steps for n in self._rules_of(s))
                    shown = tuple(s.name if s.label is None else f"{s.name}.{s.label}" for s in steps)
                    anchors.append(core.Anchor(path, symbol, numbers, shown, span=d.span))
                case S.Prove():
                    proofs.append(self._proof(d))
                case _:
                    pass
        properties.extend(self.asserts.values())
        return Parts(
            tuple(properties),
            tuple(terminal),
            tuple(assumes),
            tuple(fairness),
            tuple(events),
            tuple(observations),
            tuple(anchors),
            tuple(proofs),
            self._expectation(),
        )

    # ------------------------------------------------------------ properties

    def _property(self, d: S.Property) -> core.Property:
        name, text = d.name.name, d.text or ""
        match d.kind:
            case "invariant":
                return core.Invariant(name, text, self.typer.boolean(d.body, Env()), span=d.name.span)
            case "step":
                return core.StepProperty(name, text, self.typer.boolean(d.body, Env(primes=True)), span=d.name.span)
            case "reachable":
                return core.Reachable(name, text, self.typer.boolean(d.body, Env()), span=d.name.span)
            case "recoverable":
                return core.Recoverable(name, text, self.typer.boolean(d.body, Env()), span=d.name.span)
            case _:
                return self._leads_to(d)

    def _predicate(self, d: S.Property) -> core.Predicate:
        return core.Predicate(d.name.name, d.text or "", self.typer.boolean(d.body, Env()), span=d.name.span)

    def _leads_to(self, d: S.Property) -> core.LeadsTo:
        env, body = Env(), d.body
        binders: list[E.Binder] = []
        fixed: list[E.Expr] = []  # filters that no step can change
        now: list[E.Expr] = []  # filters that are asked when the left side is
        while isinstance(body, S.Quant) and body.kind == "forall" and body.body is not None:
            bound, inner = self.typer.binders(body.binders, env)
            assert inner is not None
            binders.extend(bound)
            env = inner
            if body.filter is not None:
                condition = self.typer.boolean(body.filter, env)
                (now if self._reads_state(condition) else fixed).append(condition)
            body = body.body
        for b in binders:
            if not isinstance(b.domain, E.OverType):
                self.diagnostics.error(
                    "HMM056", d.body.span, "a `leads_to` is quantified over types and constant ranges only"
                )
        if not isinstance(body, S.LeadsTo):
            self.diagnostics.error(
                "HMM056", body.span, "a `leads_to` is `P ~> Q`, alone or inside `forall`s", fix="write `P ~> Q`"
            )
            left = right = self.typer.boolean(body, env)
        else:
            left, right = self.typer.boolean(body.left, env), self.typer.boolean(body.right, env)
        for condition in reversed(now):
            left = E.Logic("&&", condition, left, span=left.span)
        chosen: E.Expr | None = None
        for condition in fixed:
            chosen = condition if chosen is None else E.Logic("&&", chosen, condition, span=condition.span)
        return core.LeadsTo(d.name.name, d.text or "", tuple(binders), chosen, left, right, span=d.name.span)

    def _reads_state(self, e: E.Expr) -> bool:
        for x in E.walk(e):
            if isinstance(x, E.Var):
                return True
            if isinstance(x, E.Apply) and self._reads_state(self.names.defines[x.define].body):
                return True
        return False

    # ------------------------------------------------------------ step lists

    def _rules_of(self, s: S.StepName) -> list[int]:
        """The rules that a step name means; [] and a diagnostic if there is no such step."""
        label = s.label
        if s.name in self.index.labels and label is not None:
            known, merged = self.index.labels[s.name]
            if label not in known and label not in merged:
                self.diagnostics.error(
                    "HMM046", s.span, f"the thread '{s.name}' has no label '{label}'", fix=did_you_mean(label, known)
                )
                return []
            return self.index.rules.get((s.name, merged.get(label, label)), [])
        if label is None and (s.name, None) in self.index.rules:
            return self.index.rules[s.name, None]
        symbol = self.names.symbols.get(s.name)
        steps = [n for n, part in self.index.rules if part is None]
        if label is not None and (s.name, None) in self.index.rules:
            self.diagnostics.error("HMM046", s.span, f"'{s.name}' is not a thread: it has no labels")
        elif symbol is not None:
            self.diagnostics.error(
                "HMM024",
                s.span,
                f"'{s.name}' is {kind_of(symbol)}, not a step",
                fix="name a transition, arrow or thread",
            )
        else:
            self.diagnostics.error("HMM020", s.span, f"there is no step '{s.name}'", fix=did_you_mean(s.name, steps))
        return []

    def _fairness(self, strong: bool, s: S.StepName) -> list[core.Fairness]:
        """The fair units of one step name: per parameter value or thread; a fair thread's acquires are strongly fair,
        since the kernel's locks queue their waiters."""
        numbers = self._rules_of(s)
        shown = s.name if s.label is None else f"{s.name}.{s.label}"
        rules = [self.rules[n] for n in numbers]
        if not rules:
            return []
        if rules[0].kind != "thread":
            out: list[core.Fairness] = []
            # Arrows that share a name are one step for the same machine and parameters.
            for key in dict.fromkeys((r.machine, tuple(p.type for p in r.params)) for r in rules):
                same = tuple(r.number for r in rules if (r.machine, tuple(p.type for p in r.params)) == key)
                out.append(core.Fairness(shown, strong, same, len(key[1]), span=s.span))
            return out
        prefix = rules[0].index_arity
        out = [core.Fairness(shown, strong, tuple(numbers), prefix, span=s.span)]
        if not strong:
            for r in rules:
                if _acquires(r.body):
                    out.append(core.Fairness(r.name, True, (r.number,), prefix, span=s.span))
        return out

    # ------------------------------------------------------------ the rest

    def _observation(self, d: S.Observe) -> core.Observation:
        env = Env()
        params: list[core.Parameter] = []
        for p in d.params:
            self.typer.check_new_name(p.name, env)
            t = self.names.stored_type(p.type)
            params.append(core.Parameter(p.name.name, t))
            env = env.bind(p.name.name, E.Local(p.name.name, t, span=p.span), p.span)
        if d.type is None:
            body = self.typer.infer(d.body, env)
        else:
            body = self.typer.check(d.body, env, self.names.type_of(d.type))
        return core.Observation(d.name.name, tuple(params), body.type, body, span=d.name.span)

    def _proof(self, d: S.Prove) -> core.ProofGoal:
        for p in d.properties:
            symbol = self.names.symbols.get(p.name)
            provable = isinstance(symbol, S.Property) and symbol.kind in ("invariant", "step")
            if provable or p.name in LOCK_FINDINGS or p.name in self.asserts or p.name == "spec_error":
                continue
            if symbol is None:
                known = [n for n, s in self.names.symbols.items() if isinstance(s, S.Property)]
                self.diagnostics.error(
                    "HMM073",
                    p.span,
                    f"there is no property '{p.name}'",
                    fix=did_you_mean(p.name, [*known, *LOCK_FINDINGS]),
                )
            else:
                what = f"a {symbol.kind}" if isinstance(symbol, S.Property) else kind_of(symbol)
                self.diagnostics.error(
                    "HMM074",
                    p.span,
                    f"'{p.name}' is {what}: only invariants, steps, asserts and lock findings can be proved",
                )
        for t in d.every:
            if not isinstance(self.names.named_type(t.name, t.span), Symmetric) and t.name in self.names.types:
                self.diagnostics.error(
                    "HMM075", t.span, f"'{t.name}' is not symmetric: only a symmetric type can have any size"
                )
        return core.ProofGoal(tuple(p.name for p in d.properties), tuple(t.name for t in d.every), span=d.span)

    def _expectation(self) -> core.Expectation:
        instances = {d.name.name for d in self.spec.declarations if isinstance(d, S.Instance)} | {"default"}
        violates: set[str] | None = None
        counts: dict[str, int] = {}
        for d in self.spec.declarations:
            if not isinstance(d, S.ExpectViolates | S.ExpectCount):
                continue
            if d.instance.name not in instances:
                self.diagnostics.error(
                    "HMM073",
                    d.instance.span,
                    f"there is no instance '{d.instance.name}'",
                    fix=did_you_mean(d.instance.name, instances),
                )
                continue
            mine = d.instance.name == self.instance
            if isinstance(d, S.ExpectCount):
                if mine and counts.get(d.unit, d.count) != d.count:
                    self.diagnostics.error("HMM076", d.span, f"two different counts of {d.unit} are expected")
                if mine:
                    counts[d.unit] = d.count
                continue
            for p in d.properties:
                symbol = self.names.symbols.get(p.name)
                known = isinstance(symbol, S.Property) or p.name in self.asserts or p.name in core.BUILT_IN_FINDINGS
                if not known:
                    every = [n for n, s in self.names.symbols.items() if isinstance(s, S.Property)]
                    self.diagnostics.error(
                        "HMM073",
                        p.span,
                        f"there is no property '{p.name}'",
                        fix=did_you_mean(p.name, [*every, *self.asserts, *core.BUILT_IN_FINDINGS]),
                    )
                elif mine:
                    violates = (violates or set()) | {p.name}
        return core.Expectation(
            frozenset(violates) if violates is not None else None, counts.get("states"), counts.get("orbits")
        )


def _acquires(block: core.Block) -> bool:
    for s in block:
        match s:
            case core.Guard(_, waits) if waits is not None:
                return True
            case core.IfElse(_, a, b) if _acquires(a) or _acquires(b):
                return True
            case core.Either(branches) if any(_acquires(b) for b in branches):
                return True
            case _:
                pass
    return False
