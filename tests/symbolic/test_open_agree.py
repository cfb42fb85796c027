"""The encoding without bounds says of each instance what the interpreter does there."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
import z3

from hmmspec.checker.symbolic import open_count, open_loops, open_steps
from hmmspec.checker.symbolic.formulas import FALSE, Formula
from hmmspec.checker.symbolic.open_encoding import OpenEncoding
from hmmspec.checker.symbolic.open_evaluate import OpenEvaluator
from hmmspec.checker.symbolic.open_kinds import NotFirstOrder
from hmmspec.checker.symbolic.samples import Instances, Sizes
from hmmspec.checker.symbolic.terms import Holds, Logic
from hmmspec.checker.symbolic.translate import Translation
from hmmspec.diagnostics import Source, SpecError
from hmmspec.lang.load import load, load_source
from hmmspec.system.build import build, build_all
from hmmspec.system.system import System
from tests.native.agree import built
from tests.native.specgen import bundle
from tests.symbolic.finite import Elements, Model
from tests.symbolic.opened import compare

ROOT = Path(__file__).resolve().parents[2]
GENERATED = int(os.environ.get("HMMSPEC_OPEN_SPECS", "9"))

SPECS = [p for p in sorted((ROOT / "specs").glob("*.hmm")) if "prove" in p.read_text(encoding="utf-8")]
SMALL = sorted((ROOT / "tests" / "specs").glob("*.hmm"))

LOOPS = """spec loops
param PAGES = 2;
param CPUS = 2;
type Page = symmetric[PAGES];
type Cpu = symmetric[CPUS];
type Owner = Cpu | enum { nobody, kernel };
type Kind = enum { none, present, device };
type Where = record { cpu: Cpu; kind: Kind; };
var kind[Page]: Kind = none;
var by[Page]: Cpu? = null;
var own[Owner]: 0..2 = 0;
var pte[Page][Cpu]: record { kind: Kind; dirty: bool; } = any;
var at[Page]: Where? = null;
var seen: set of Owner = {nobody};
var line: queue[2] of Where = [];
var flag: bool = false;
transition outer { for p: Page | kind[p] == none { for c: Cpu | by[p] != c { pte[p][c].kind := kind[p]; } } }
transition both { for p: Page, c: Cpu | by[p] == c { pte[p][c].dirty := !pte[p][c].dirty; } }
transition second(p: Page) { for c: Cpu { pte[p][c].kind := if by[p] == c then present else none; } }
transition picks { for p: Page | by[p] == null { choose c: Cpu | pte[p][c].dirty; by[p] := c;
  either { kind[p] := device; } or { skip; } } }
transition some { for p: Page { choose i: 0..1; if (i == 1) { kind[p] := none; } choose k: Kind | k != kind[p]; kind[p] := k; } }
transition within { for p: Page | kind[p] == none { for c: Cpu { either { pte[p][c].dirty := true; } or { skip; } } } }
transition owners { for o: Owner | !(o in seen) { own[o] += 1; } seen := {o: Owner | own[o] == 1}; flag := own[nobody] == 2; }
transition cpus { for o: Owner | o in Cpu { own[o] := 0; } }
transition marks(c: Cpu) { for p: Page | by[p] == c { at[p] := Where(cpu = c, kind = kind[p]); by[p] := null; } }
transition unmarks(p: Page) when at[p] != null { by[p] := at[p].cpu; kind[p] := at[p].kind; at[p] := null; }
transition moves(p: Page, q: Page) when at[p] == at[q] { at[q] := null; flag := at[p] == at[q]; }
transition queues(c: Cpu) when size(line) < 2 { push(line, Where(cpu = c, kind = none)); own[c] := size(line); }
transition takes { by := by; own[head(line).cpu] := 1; pop(line); }
transition finite { for i: 0..1, p: Page { if (i == 1 && by[p] == null) { kind[p] := present; } else { by[p] := null; } } }
transition guarded { for p: Page { assert calm: kind[p] != device || by[p] == null; } flag := true; }
transition few when count(p: Page | kind[p] == none) <= 1 { flag := count(p: Page, c: Cpu | pte[p][c].dirty) == 3; }
transition best when flag { own[nobody] := max(own[c] for c: Cpu | by[by0(c)] != null); }
define by0(c: Cpu): Page = first;
var first: Page = any;
invariant low: min(own[o] for o: Owner | o in seen) < 2;
invariant sized: size(seen) > 1 || size({c: Cpu | own[c] == 0}) != 1 || count(o: Owner, p: Page | own[o] > 0) >= 4;
invariant at_two: forall p, q: Page | p != q { at[p] == null || at[p] != at[q] };
step kept: forall p: Page { at[p] != null => at'[p] == at[p] || at'[p] == null };
"""


def settings(systems: list[System]) -> Iterator[tuple[System, frozenset[str]]]:
    """The types without bounds: those of the prove clauses, or each one and all."""
    first = systems[0]
    every = [frozenset(g.every) for g in first.proofs]
    if not every:
        names = [t.name for t in first.symmetric]
        every = [*(frozenset([n]) for n in names), frozenset(names)] if names else []
    for some in dict.fromkeys(every):
        yield first, some


def differences(systems: list[System], instances: list[System], states: int, seed: int = 0) -> list[str]:
    wrong: list[str] = []
    for system, every in settings(systems):
        for instance in instances:
            try:
                wrong += compare(system, instance, every, states, seed)[0]
            except NotFirstOrder:
                continue  # refused by name
    return wrong


@pytest.mark.parametrize("path", SPECS, ids=lambda p: p.stem)
def test_specs(path: Path) -> None:
    """Made for the smallest instance, read in larger ones."""
    spec = load(str(path))
    system = build_all(spec)[0]
    for every in dict.fromkeys(tuple(g.every) for g in system.proofs):
        sizes = Sizes(tuple((name, 2 if i else 3) for i, name in enumerate(every)))
        instance = Instances(spec, system, every).of(sizes)
        wrong, passed = compare(system, instance, frozenset(every), 1)
        assert wrong == []
        assert [p for p in passed if not p.startswith("fits: `count(") and "too many ways" not in p] == []


@pytest.mark.parametrize("first", range(0, len(SMALL), 20))
def test_small_specs(first: int) -> None:
    for path in SMALL[first : first + 20]:
        try:
            systems = build_all(load(str(path)))
        except SpecError:
            continue
        assert differences(systems[:1], systems[:1], 2) == [], path.name


@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, GENERATED, 3))
def test_generated_specs(first: int) -> None:
    """Instances of one size say nothing of others, but whatever is not seen here is not the size's doing."""
    for seed in range(first, first + 3):
        try:
            _, systems = built(bundle(seed, 0))
        except SpecError:
            continue
        assert differences([systems[0]], [systems[0]], 1, seed) == [], seed


def test_loops_and_values() -> None:
    """Made for the instance with one identity, read in larger ones."""
    spec = load_source(Source("loops.hmm", LOOPS))
    small = build(spec, {"PAGES": 1, "CPUS": 1})
    for every in (frozenset({"Page", "Cpu"}), frozenset({"Page"}), frozenset({"Cpu"})):
        for pages, cpus in ((1, 1), (2, 1), (1, 2), (2, 2)):
            if ("Page" in every or pages == 1) and ("Cpu" in every or cpus == 1):
                wrong, passed = compare(small, build(spec, {"PAGES": pages, "CPUS": cpus}), every, 3, pages + 2 * cpus)
                assert wrong == []
                assert [p for p in passed if "too many" not in p] == []


# ---------------------------------------------------------------- with Z3


@pytest.mark.parametrize("name", ["device_memory", "hotplug", "two_devices", "migrate_dirty", "populate_loop"])
def test_models_are_steps(name: str) -> None:
    """What Z3 finds of an instance with two identities each is a step there."""
    spec = load(str(ROOT / f"specs/{name}.hmm"))
    system = build_all(spec)[0]
    every = system.proofs[0].every
    sizes = Sizes(tuple((t, 2) for t in every))
    interp = Instances(spec, system, every).interpreter(sizes)
    instance = interp.system
    encoding = OpenEncoding(system, frozenset(every))
    translation = Translation(encoding.f)
    elements = Elements(translation, sizes)
    random = Random(name)
    found = 0
    for step in encoding.steps:
        solver = z3.Solver()
        solver.add(translation.term(encoding.axioms), translation.term(step.enabled), *elements.constraints())
        for _ in range(2):
            solver.push()
            for f in _some_atoms(encoding, step.enabled, random):
                solver.push()
                solver.add(translation.term(f))
                if solver.check() != z3.sat:
                    solver.pop()
            if solver.check() == z3.sat:
                model = Model(encoding, translation, elements, solver.model())
                before = interp.build(model.values(encoding.state, instance))
                after = interp.build(model.values(step.after, instance))
                rule = instance.rules[step.rule.number]
                args = tuple(model.plain(p.type, v) for p, v in zip(rule.params, step.arguments, strict=True))
                assert (rule.number, args, after) in interp.expand(before)[0], (rule.name, interp.cells(before))
                found += 1
            solver.reset()
            solver.add(translation.term(encoding.axioms), translation.term(step.enabled), *elements.constraints())
    assert found > len(encoding.steps)


def _some_atoms(encoding: OpenEncoding, f: Formula, random: Random) -> list[Formula]:
    atoms = [
        2 * n
        for n in encoding.f.below([f])
        if isinstance(a := encoding.f.atoms.get(n), Holds) and not any(t.bound for t in a.terms)
    ]
    return [a ^ random.randrange(2) for a in random.sample(atoms, min(3, len(atoms)))]


# ---------------------------------------------------------------- is it seen?


def _one_choice_for_all(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(open_loops.LoopStepper, "_own_place", _place)


def _place(self: open_loops.LoopStepper) -> open_loops.Place:
    self._inputs += 1
    return open_loops.Place(f"{self._rule} input {self._inputs}")


def _own_index_lost(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(open_loops._Spread, "_own", lambda self, key, index, old, path: old)


def _one_more(patch: pytest.MonkeyPatch) -> None:
    kept = open_count.CountingEvaluator._at_least
    patch.setattr(open_count.CountingEvaluator, "_at_least", lambda self, kinds, n: kept(self, kinds, n and n + 1))


def _not_distinct(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(open_count, "distinct", lambda logic, groups: 0)


def _filter_of_choice_lost(patch: pytest.MonkeyPatch) -> None:
    kept = open_steps.OpenStepper._choose
    patch.setattr(open_steps.OpenStepper, "_choose", lambda self, way, s: kept(self, way, replace(s, filter=None)))


def _errors_of_quantifiers_lost(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(OpenEvaluator, "error", lambda self, condition: None)


def _names_confused(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Logic, "same", lambda self, a, b: 0 if a.sort == "Cpu" else (a != b) * FALSE)


@pytest.mark.parametrize(
    "plant",
    [
        _one_choice_for_all,
        _own_index_lost,
        _one_more,
        _not_distinct,
        _filter_of_choice_lost,
        _errors_of_quantifiers_lost,
        _names_confused,
    ],
)
def test_planted_defects_are_seen(plant: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch) -> None:
    spec = load_source(Source("loops.hmm", LOOPS))
    plant(monkeypatch)
    try:
        wrong, _ = compare(build(spec, {}), build(spec, {}), frozenset({"Page", "Cpu"}), 4, 1)
    except AssertionError:
        return  # noticed on the way
    assert wrong
