"""Induction for any number of identities: what is kept by every step, and real steps out of real states where it is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from hmmspec.checker.symbolic.induction import Claim, Gap, Induction
from hmmspec.checker.symbolic.open_encoding import OpenEncoding
from hmmspec.checker.symbolic.open_values import NotFirstOrder
from hmmspec.checker.symbolic.samples import Instances
from hmmspec.checker.symbolic.strengthen import Strengthener
from hmmspec.diagnostics import Limit, Source
from hmmspec.lang import syntax as S
from hmmspec.lang.load import load, load_source
from hmmspec.system.build import build_all
from hmmspec.system.system import Invariant, StepProperty, System

ROOT = Path(__file__).resolve().parents[2]

PAGES = """spec pages
param PAGES = 2;
param CPUS = 2;
type Page = symmetric[PAGES];
type Cpu = symmetric[CPUS];
type Place = enum { system, device };
var place[Page]: Place = system;
var pinned[Page]: bool = false;
var owner[Page]: Cpu? = null;
var seen: set of Page = {};
lock lru;
transition pin(p: Page) when place[p] == system && owner[p] == null { pinned[p] := true; }
transition unpin(p: Page) when pinned[p] { pinned[p] := false; }
transition take(c: Cpu, p: Page) when owner[p] == null && !pinned[p] { owner[p] := c; seen += {p}; }
transition move(c: Cpu, p: Page) when owner[p] == c { place[p] := device; }
transition drop(p: Page) when owner[p] != null { owner[p] := null; }
transition back { for p: Page | place[p] == device && owner[p] == null { place[p] := system; } }
transition some { choose p: Page | pinned[p]; pinned[p] := false; }
thread worker[Cpu] { get: acquire lru; put: release lru; restart; }
invariant stays: forall p: Page | pinned[p] { place[p] == system };
invariant alone: forall p: Page | pinned[p] { owner[p] == null };
invariant seen_first: forall p: Page | owner[p] != null { p in seen };
invariant few: count(p: Page | pinned[p]) <= 1;
invariant nobody: forall p: Page { owner[p] == null };
invariant locked: forall c: Cpu | worker[c] == put { held(lru) };
invariant counted: count(p: Page | pinned[p]) <= 7;
step no_move: forall p: Page | pinned[p] { place'[p] == place[p] };
prove stays, alone, seen_first, no_move for every Page, Cpu;
"""


def of(spec: S.Spec, system: System, every: tuple[str, ...]) -> tuple[Induction, list[Claim]]:
    induction = Induction(OpenEncoding(system, frozenset(every)), Instances(spec, system, every), seconds=20)
    claims = [
        Claim(p.name, p.body, isinstance(p, StepProperty))
        for p in system.properties
        if isinstance(p, Invariant | StepProperty)
    ]
    return induction, claims


def is_real(induction: Induction, gap: Gap) -> bool:
    """The state before is one in which the interpreter knows the step, and the step breaks the claim there."""
    interp = induction.instances.interpreter(gap.sizes)
    system = interp.system
    before = interp.build(gap.model.values(induction.encoding.state, system))
    after = interp.build(gap.model.values(gap.step.after, system))
    rule = system.rules[gap.step.rule.number]
    args = tuple(gap.model.plain(p.type, v) for p, v in zip(rule.params, gap.step.arguments, strict=True))
    if (rule.number, args, after) not in interp.expand(before)[0]:
        return False
    body = next(p for p in system.properties if p.name == gap.claim.name).body
    return not (interp.step_predicate(body)(before, after) if gap.claim.step else interp.predicate(body)(after))


def test_what_every_step_keeps() -> None:
    spec = load_source(Source("pages.hmm", PAGES))
    (system,) = build_all(spec)
    induction, claims = of(spec, system, ("Page", "Cpu"))
    named = {c.name: c for c in claims}
    with pytest.raises(NotFirstOrder, match="counts identities"):
        induction.holds(named["counted"])
    kept = [named[n] for n in ("stays", "alone", "seen_first", "no_move")]
    assert all(induction.start_breaks(c) is False for c in kept)
    assert list(induction.gaps(kept, kept)) == []
    # Alone `stays` is not kept: someone may own a pinned page in a state that is never reached.
    (gap,) = list(induction.gaps([named["stays"]], [named["stays"]]))
    assert isinstance(gap, Gap)
    assert (gap.step.rule.name, is_real(induction, gap)) == ("move", True)
    for name in ("few", "nobody", "locked"):
        gap_ = next(induction.gaps([*kept, named[name]], [named[name]]))
        assert isinstance(gap_, Gap), name
        assert is_real(induction, gap_), name


@pytest.mark.parametrize("name", ["migrate_vma", "interval_notifier", "two_devices"])
def test_counterexamples_are_real_steps(name: str) -> None:
    spec = load(str(ROOT / f"specs/{name}.hmm"))
    system = build_all(spec)[0]
    looked = 0
    for goal in system.proofs:
        try:
            induction, claims = of(spec, system, goal.every)
        except Limit:
            continue
        claims = [c for c in claims if c.name in goal.properties]
        for gap in induction.gaps(claims, claims):
            assert isinstance(gap, Gap)
            assert is_real(induction, gap), (gap.claim.name, gap.step.rule.name)
        looked += 1
    assert looked


def test_finds_what_is_missing() -> None:
    """`stays` is not kept by every step, but it is together with facts that are found."""
    spec = load_source(Source("pages.hmm", PAGES))
    (system,) = build_all(spec)
    induction, claims = of(spec, system, ("Page", "Cpu"))
    stays, nobody = (next(c for c in claims if c.name == name) for name in ("stays", "nobody"))
    found = Strengthener(induction, induction.instances, [stays], seconds=120).run()
    assert found.open_ == {}
    assert found.lemmas
    together = [stays, *found.lemmas]
    assert all(induction.start_breaks(c) is False for c in together)
    assert list(induction.gaps(together, together)) == []
    # What is false is never shown, whatever is found on the way.
    assert nobody in Strengthener(induction, induction.instances, [nobody], seconds=120).run().open_
