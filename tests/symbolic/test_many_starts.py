"""Proofs of specs with more start states than can be looked at: what is true is proved, what is false has a run."""

from __future__ import annotations

import pytest

from hmmspec.checker.explicit.chance import Starts
from hmmspec.checker.symbolic import falsify
from hmmspec.checker.symbolic.begin import FEW, starts_by_formulas, starts_of, thinned
from hmmspec.checker.symbolic.induction import Induction
from hmmspec.checker.symbolic.prover import Proved, ProveOptions, goals_of, prove
from hmmspec.checker.symbolic.samples import Instances, Sampler
from hmmspec.checker.verdict import Level, Status, Verdict
from hmmspec.checker.verify import verify
from hmmspec.diagnostics import Source
from hmmspec.lang.load import load_source
from hmmspec.system.build import build_all
from hmmspec.system.run import Interpreter

# 192^n start states of n pages, and five for each that has a frame.
PAGES = """spec many
param PAGES = 3; param FRAMES = 2;
type Page = symmetric[PAGES]; type Frame = symmetric[FRAMES];
type Place = enum { system, device, swap };
var place[Page]: Place = any;
var frame[Page]: Frame? = any;
var dirty[Page]: bool = any;
var pins[Page]: 0..3 = any;
var age[Page]: 0..7 = any;
var moving: Page? = null;
var seen[Page]: bool = false;
transition pin(p: Page) when place[p] == system && pins[p] < 3 && moving != p { pins[p] += 1; }
transition unpin(p: Page) when pins[p] > 0 { pins[p] -= 1; }
transition begin(p: Page) when moving == null && pins[p] == 0 && place[p] == system { moving := p; }
transition finish when moving != null {
  let p = moving; place[p] := device; dirty[p] := false; moving := null; seen[p] := true;
}
transition look(p: Page) when age[p] < 7 { age[p] += 1; }
transition touch(p: Page) when age[p] == 5 && place[p] == device { dirty[p] := true; }
invariant unpinned: moving != null => pins[moving] == 0;
step stays: forall p: Page | pins[p] > 0 { place'[p] == place[p] };
invariant clean: forall p: Page | seen[p] && place[p] == device { !dirty[p] };
invariant three: !(exists a, b, c: Page | a != b && a != c && b != c {
  age[a] == 7 && age[b] == 6 && age[c] == 2 && seen[a] && seen[b] });
prove unpinned, stays, clean, three for every Page, Frame;
"""


def proved(text: str) -> Proved:
    spec = load_source(Source("many.hmm", text))
    system = build_all(spec)[0]
    return prove(spec, system, goals_of(system)[0], ProveOptions(seconds=60))


def runs(text: str, found: Proved) -> dict[str, tuple[Verdict, int]]:
    """Each property that is violated, whose run the interpreter takes, too: with the length of it."""
    spec = load_source(Source("many.hmm", text))
    out: dict[str, tuple[Verdict, int]] = {}
    for v in found.verdicts:
        if v.status is Status.VIOLATED:
            assert v.trace is not None and v.proof is not None
            system = build_all(spec, None, {n: int(k) for n, k in v.proof.sizes})[0]
            assert verify(system, v.trace, v.property) == []
            out[v.property] = v, v.trace.length
    return out


def test_true_and_false(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[str] = []
    kept = Induction.kept

    def counted(self: Induction, claims: object, *more: object) -> object:
        claims = list(claims)  # type: ignore[call-overload]
        tried.extend(c.name for c in claims)
        return kept(self, claims, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(Induction, "kept", counted)
    found = proved(PAGES)
    assert {v.property: v.status for v in found.verdicts if v.status is Status.HOLDS} == {
        "unpinned": Status.HOLDS,
        "stays": Status.HOLDS,
    }
    violated = runs(PAGES, found)
    assert {name: (v.level, length) for name, (v, length) in violated.items()} == {
        "clean": (Level.VIOLATED_SHORTEST, 3),
        "three": (Level.VIOLATED_SHORTEST, 4),
    }
    sizes = {name: dict(v.proof.sizes) for name, (v, _) in violated.items() if v.proof is not None}
    assert sizes == {"clean": {"PAGES": "1", "FRAMES": "1"}, "three": {"PAGES": "3", "FRAMES": "1"}}
    # The runs were found before anything without bounds was tried.
    assert {"clean", "three"}.isdisjoint(tried)
    assert {"unpinned", "stays"} <= set(tried)


# A start state of this is hardly drawn: of 17^4 combinations for each page 17 are left.
FEW_LEFT = """spec few_left
param PAGES = 2;
type Page = symmetric[PAGES];
var a[Page]: 0..16 = any; var b[Page]: 0..16 = any; var c[Page]: 0..16 = any; var d[Page]: 0..16 = any;
var on[Page]: bool = false;
assume given: forall p: Page { b[p] + a[p] == 16 && (on[p] || c[p] + a[p] == 16 && d[p] == a[p]) };
transition start(p: Page) when a[p] == 7 && !(exists q: Page { on[q] }) { on[p] := true; }
transition more(p: Page) when on[p] && d[p] < 16 { d[p] += 1; }
invariant chosen: forall p: Page { on[p] => a[p] == 7 };
invariant small: forall p: Page { d[p] <= 9 || a[p] != 7 };
prove chosen, small for every Page;
"""


def test_where_an_assume_leaves_next_to_nothing() -> None:
    found = proved(FEW_LEFT)
    assert [v.status for v in found.verdicts] == [Status.HOLDS, Status.VIOLATED]
    ((v, length),) = runs(FEW_LEFT, found).values()
    assert (v.level, length) == (Level.VIOLATED_SHORTEST, 4)


def test_start_states_that_z3_finds() -> None:
    interp = Interpreter(build_all(load_source(Source("few_left.hmm", FEW_LEFT)))[0])
    found = list(starts_by_formulas(interp, FEW))
    assert len(found) == len(set(found)) > 10
    assert all(map(interp.is_start, found))
    assert starts_of(interp) == Starts(found, False)
    nowhere = FEW_LEFT.replace("b[p] + a[p] == 16", "b[p] + a[p] == 33")
    interp = Interpreter(build_all(load_source(Source("few_left.hmm", nowhere)))[0])
    assert list(starts_by_formulas(interp, FEW)) == []
    # Where an assume may err it matters whether it does.
    for errs, found in (("a[p] + 1", True), ("a[p]", False)):
        text = FEW_LEFT + f"assume fits: forall p: Page {{ 1 / ({errs}) >= 0 }};"
        interp = Interpreter(build_all(load_source(Source("few_left.hmm", text)))[0])
        assert bool(list(starts_by_formulas(interp, 3))) == found


def test_fewer_start_states() -> None:
    interp = Interpreter(build_all(load_source(Source("many.hmm", PAGES)))[0])
    many = starts_of(interp)
    assert not many.whole
    some = thinned(many, 100)
    assert 50 <= len(some.states) <= 100
    assert set(some.states) < set(many.states)
    assert thinned(some, 100) == some


def test_an_assume_that_errs_far_away() -> None:
    """No start state that is looked at shows it; Z3 finds the one that does."""
    text = (
        PAGES + "assume fits: forall p: Page { age[p] != 3 || pins[p] != 2 || 1 / (if dirty[p] then 0 else 1) == 1 };"
    )
    text = text.replace("prove unpinned", "prove spec_error, unpinned")
    found = {v.property: v for v in proved(text).verdicts}
    assert found["spec_error"].status is Status.VIOLATED
    assert found["spec_error"].trace is not None


def test_samples() -> None:
    """States beyond the start states, however many these are."""
    spec = load_source(Source("many.hmm", PAGES))
    instances = Instances(spec, build_all(spec)[0], ("Page", "Frame"))
    sizes = instances.same(3)
    for reached in (
        Sampler(instances.interpreter(sizes)).sample(sizes, 1600),
        falsify.look(instances, sizes, ()).reached,
    ):
        starts = sum(map(reached.interp.is_start, reached.states))
        assert starts > 100
        assert len(reached.states) - starts > 100
        assert not reached.complete
