"""PDR: invariants of finite instances that hold in every reachable state, are checked once more, and can be read."""

from __future__ import annotations

from pathlib import Path

import pytest

from hmmspec.checker.check import check
from hmmspec.checker.explicit.engine import explore
from hmmspec.checker.options import CheckOptions
from hmmspec.checker.symbolic.cells import Plain, Wording
from hmmspec.checker.symbolic.cube_words import Words
from hmmspec.checker.symbolic.encoding import Encoding, Shown
from hmmspec.checker.symbolic.evaluate import Scope
from hmmspec.checker.symbolic.formulas import FALSE
from hmmspec.checker.symbolic.invariant import Invariant
from hmmspec.checker.symbolic.pdr import Pdr
from hmmspec.checker.symbolic.predicates import Cube, Predicates
from hmmspec.checker.symbolic.sat import Circuit, Sat
from hmmspec.checker.symbolic.visits import Visits
from hmmspec.checker.verdict import Level, Status
from hmmspec.diagnostics import InternalError
from hmmspec.lang.load import load
from hmmspec.system.build import build_all
from hmmspec.system.run import Interpreter
from hmmspec.system.show import show_expr
from tests.symbolic.settling import encoding_of, how, settled, shown, system_of

ROOT = Path(__file__).resolve().parents[2]

# `good` is true in all reachable states, but not for the next step: that pages that land are not locked must be known.
FLIGHT = """
type Page = symmetric[2];
var locked[Page]: bool = false;
machine place[p: Page] {
  states ram, flying, landing, device;
  initial ram;
  ram -> flying by start when !locked[p] { locked[p] := true; }
  flying -> landing by copy { locked[p] := false; }
  landing -> device by finish;
  device -> ram by fault when !locked[p];
}
transition take(p: Page) when !locked[p] && place[p] == ram { locked[p] := true; }
transition give(p: Page) when locked[p] && place[p] == ram { locked[p] := false; }
transition lose(p: Page) when place[p] == flying && !locked[p] { place[p] := ram; }
invariant good: !(exists p: Page { place[p] == device && locked[p] });
invariant bad: forall p: Page { place[p] != flying };
reachable both: forall p: Page { place[p] == device };
reachable lost: exists p: Page { place[p] == flying && !locked[p] };
"""


def invariant_of(encoding: Encoding, name: str, *, symmetric: bool = True) -> tuple[Predicates, list[Cube] | None]:
    predicates = Predicates(encoding, symmetric=symmetric)
    pdr = Pdr(predicates, Visits(predicates, encoding.interp, lambda: None), lambda _: None)
    found = shown(encoding, name)
    return predicates, pdr.run(encoding.f.either(found.state, found.step))


@pytest.mark.parametrize("symmetric", [True, False])
def test_an_invariant_is_true_everywhere(symmetric: bool) -> None:
    encoding = encoding_of(FLIGHT)
    predicates, cubes = invariant_of(encoding, "good", symmetric=symmetric)
    assert cubes
    states = list(explore(encoding.system, CheckOptions(symmetry=False)).states)
    holds = [0 if c is None else c for c in predicates.columns(states)]
    for cube in cubes:
        for renamed in predicates.orbit(cube):
            together = (1 << len(states)) - 1
            for x in renamed:
                together &= ~holds[x >> 1] if x & 1 else holds[x >> 1]
            assert together == 0


def test_an_invariant_in_words_is_one_of_the_spec() -> None:
    encoding = encoding_of(FLIGHT)
    predicates, cubes = invariant_of(encoding, "good")
    assert cubes
    texts = Words(predicates).lemmas(cubes)
    assert any("forall" in t for t in texts)
    more = "".join(f"invariant lemma_{n}: {t};\n" for n, t in enumerate(texts))
    report = check(system_of(FLIGHT + more))
    lemmas = [v for v in report.verdicts if v.property.startswith("lemma_")]
    assert len(lemmas) == len(texts)
    assert all(v.status is Status.HOLDS for v in lemmas)


def test_what_is_violated_has_no_invariant() -> None:
    assert invariant_of(encoding_of(FLIGHT), "bad")[1] is None
    assert invariant_of(encoding_of(FLIGHT), "both")[1] is None


def test_an_invariant_that_is_none_is_noticed() -> None:
    encoding = encoding_of(FLIGHT)
    predicates, cubes = invariant_of(encoding, "good")
    assert cubes
    wanted = {"good": shown(encoding, "good")}
    needed = Invariant(predicates, cubes, (), lambda: None).needed(wanted)["good"]
    assert set(needed.cubes) <= set(cubes)
    # What is needed is enough by itself, and each part of it is needed for something.
    Invariant(predicates, needed.cubes, (), lambda: None).needed(wanted)
    with pytest.raises(InternalError, match="good"):
        Invariant(predicates, (), (), lambda: None).needed(wanted)
    more = 0
    for n in range(len(needed.cubes)):
        rest = needed.cubes[:n] + needed.cubes[n + 1 :]
        try:
            Invariant(predicates, rest, (), lambda: None).needed(wanted)
        except InternalError:
            more += 1
    assert more
    # Excluding a start state, or a reachable one, is no invariant.
    start = predicates.of_state([bool(c) for c in predicates.columns(list(encoding.interp.initial()))])
    with pytest.raises(InternalError, match="start"):
        Invariant(predicates, [*cubes, start], (), lambda: None).needed(wanted)
    flying = next(iter(encoding.interp.expand(next(iter(encoding.interp.initial())))[0]))[2]
    reached = predicates.of_state([bool(c) for c in predicates.columns([flying])])
    # Asked about the excluded state itself, so that its exclusion is needed.
    here = Shown("here", encoding.f.all(predicates.formula(x) for x in reached), FALSE)
    with pytest.raises(InternalError, match="kept"):
        Invariant(predicates, [*cubes, reached], (), lambda: None).needed({"here": here})


def test_settled() -> None:
    report, found = settled(FLIGHT)
    assert {n: how(v) for n, v in found.items()} == {
        "good": "holds by pdr (1)",
        "bad": "violated in 1",
        "both": "holds in 6",
        "lost": "violated by pdr (1)",
        "spec_error": "holds by k-induction (1)",
        "deadlock": how(found["deadlock"]),
    }
    assert found["deadlock"].status is Status.HOLDS
    assert found["lost"].level is Level.INDUCTIVE
    assert not found["lost"].expected
    assert report.states is None
    assert report.exit_code == 1


def test_renamings_are_those_of_the_states() -> None:
    """A predicate holds in a state as the renamed one does in the renamed state."""
    (system, *_) = build_all(load(str(ROOT / "tests/specs/fault_thread.hmm")))
    encoding = Encoding(Interpreter(system))
    predicates = Predicates(encoding)
    assert predicates.renamings
    states = set(explore(system, CheckOptions(symmetry=False)).states)
    everything = list(states)
    columns = [0 if c is None else c for c in predicates.columns(everything)]
    for by in predicates.renamings[:4]:
        seen = set()
        for k, _ in enumerate(everything):
            holds = [bool(c >> k & 1) for c in columns]
            moved = [False] * len(holds)
            for n, h in enumerate(holds):
                moved[by[2 * n] >> 1] = h ^ bool(by[2 * n] & 1)
            seen.add(tuple(moved))
        assert seen == {tuple(bool(c >> k & 1) for c in columns) for k in range(len(everything))}


def test_known_facts_are_used_and_named() -> None:
    encoding = encoding_of(FLIGHT + "invariant landed: forall p: Page { place[p] == landing => !locked[p] };\n")
    predicates = Predicates(encoding)
    good, landed = shown(encoding, "good"), shown(encoding, "landed")
    cubes = Pdr(predicates, None, lambda _: None).run(good.state, landed.state ^ 1)
    assert cubes is not None
    assert Invariant(predicates, cubes, [landed], lambda: None).needed({"good": good})["good"].uses == ("landed",)
    with pytest.raises(InternalError, match="kept"):
        Invariant(predicates, cubes, [], lambda: None).needed({"good": good})


def anything_is_inductive(self: Pdr, cube: Cube, level: int) -> Cube:
    del level
    return cube if self._starts(cube) or len(cube) == 1 else frozenset(sorted(cube)[:-1])


DEFECTS = [
    ("_consecution", anything_is_inductive),
    ("_starts", lambda *_: False),
    ("_propagate", lambda self: [c.cubes[0] for c in self.frames[-2]]),
]


@pytest.mark.parametrize(("name", "defect"), DEFECTS, ids=[n for n, _ in DEFECTS])
def test_a_defect_in_the_search_proves_nothing(monkeypatch: pytest.MonkeyPatch, name: str, defect: object) -> None:
    """Whatever the search thinks it has: the invariant is checked by itself."""
    encoding = encoding_of(FLIGHT)
    monkeypatch.setattr(Pdr, name, defect)
    for property_ in ("good", "both"):  # `both` is reached: there is no invariant at all
        predicates, wanted = Predicates(encoding), {property_: shown(encoding, property_)}
        pdr = Pdr(predicates, None, lambda _: None)
        if name == "_starts":
            monkeypatch.setattr(pdr, "_only", None)
        cubes = pdr.run(wanted[property_].state)
        assert cubes is not None
        with pytest.raises(InternalError, match="the invariant that the symbolic engine found does not"):
            Invariant(predicates, cubes, (), lambda: None).needed(wanted)


@pytest.mark.parametrize("name", ["fault_thread", "procedures", "rwlocks", "sets", "unions", "records_fork"])
def test_words_say_what_the_cubes_say(name: str) -> None:
    """Lemmas hold together in just those states that no cube is about."""
    for system in build_all(load(str(ROOT / f"tests/specs/{name}.hmm"))):
        encoding = Encoding(Interpreter(system))
        f, predicates = encoding.f, Predicates(encoding)
        bad = f.any(x for s in encoding.shown() for x in (s.state, s.step) if s.name in ("spec_error", "deadlock"))
        cubes = Pdr(predicates, Visits(predicates, encoding.interp, lambda: None), lambda _: None).run(bad)
        if cubes is None or any(predicates.all[x >> 1].cell is None for c in cubes for x in c):
            cubes = None
        # Where nothing is to be excluded, anything will do.
        some = cubes or [predicates.of_state([bool(c) for c in predicates.columns([s])])
                         for s in list(explore(system, CheckOptions(symmetry=False)).states)[:12]]  # fmt: skip
        words = Words(predicates)
        blocks = words._merged(some)
        said = [encoding.e.evaluate(words.expr(b), Scope(encoding.state)) for b in blocks]
        meant = f.any(f.all(map(predicates.formula, c)) for cube in some for c in predicates.orbit(cube)) ^ 1
        sat = Sat()
        copy = Circuit(sat, f)
        sat.clause([copy.literal(encoding.valid)])
        assert not sat.solve([copy.literal(f.any(wrong for _, wrong in said))])
        assert not sat.solve([copy.literal(f.same(f.all(holds for holds, _ in said), meant) ^ 1)])
        assert len(blocks) <= len(some)


def test_cubes_that_differ_in_one_cell_are_one_lemma() -> None:
    encoding = encoding_of(FLIGHT)
    predicates = Predicates(encoding)
    cells = {show_expr(Wording(encoding.system).cell(c)): c for c, _ in predicates.number}
    place, locked = (
        next(c for text, c in cells.items() if text.startswith(n)) for n in ("place[page_1", "locked[page_1")
    )
    values = {v.value: predicates.number[place, v] for c, v in predicates.number if c == place and isinstance(v, Plain)}
    yes = predicates.number[locked, Plain(1)]
    words = Words(predicates)
    two = [frozenset([values[0], yes]), frozenset([values[2], yes])]
    assert words.lemmas(two) == ["forall page_1: Page { locked[page_1] => place[page_1] in {flying, device} }"]
    every = [frozenset([v, yes]) for v in values.values()]
    assert words.lemmas(every) == ["forall page_1: Page { !locked[page_1] }"]
    other = predicates.orbit(two[1])[1]
    assert words.lemmas([two[0], other]) == words.lemmas(two)
