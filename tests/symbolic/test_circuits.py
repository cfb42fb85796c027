"""Both ways to ask whether formulas can hold together, held against truth tables and against each other."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from itertools import combinations, product

import pytest

from hmmspec.checker.symbolic import circuits as module
from hmmspec.checker.symbolic.circuits import KEPT, ByZ3, Circuits, Compiled, circuits, library
from hmmspec.checker.symbolic.formulas import FALSE, TRUE, Formula, Formulas
from hmmspec.checker.symbolic.sat import Undecided


def compiled(f: Formulas) -> Circuits:
    found = library()
    if found is None:
        pytest.skip("no C compiler")
    return Compiled(f, found)


def forgetful(f: Formulas) -> Compiled:
    """Nearly all that is learned is forgotten at once."""
    found = library()
    if found is None:
        pytest.skip("no C compiler")
    return Compiled(f, found, kept=4)


WAYS: tuple[Callable[[Formulas], Circuits], ...] = (compiled, forgetful, ByZ3)


def grown(f: Formulas, rng: random.Random, some: list[Formula], more: int) -> None:
    """More formulas over those that are there."""
    for _ in range(more):
        a, b = rng.choice(some[-40:]) ^ rng.randrange(2), rng.choice(some) ^ rng.randrange(2)
        some.append(f.both(a, b))


def true_in(f: Formulas, formula: Formula, atoms: dict[int, bool]) -> bool:
    known = {0: True, **atoms}
    for node in f.below([formula]):
        parts = f.parts[node]
        if parts is not None:
            known[node] = all(known[p >> 1] ^ bool(p & 1) for p in parts)
    return known[formula >> 1] ^ bool(formula & 1)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("seed", range(12))
def test_truth_tables(way: Callable[[Formulas], Circuits], seed: int) -> None:
    """Questions between which the graph grows and more is required."""
    rng, f = random.Random(seed), Formulas()
    atoms = [f.atom(k) for k in range(6)]
    rows = [dict(zip((a >> 1 for a in atoms), row, strict=True)) for row in product((False, True), repeat=6)]
    some, c = list(atoms), way(f)
    for _ in range(40):
        grown(f, rng, some, 4)
        asked = [rng.choice([*some[-12:], *atoms]) ^ rng.randrange(2) for _ in range(rng.randrange(1, 6))]
        fitting = [r for r in rows if all(true_in(f, x, r) for x in asked)]
        assert c.solve(asked) == bool(fitting)
        if fitting:
            assert all(c.values(asked))
            held = dict(zip((a >> 1 for a in atoms), c.values(atoms), strict=True))
            assert all(true_in(f, x, held) for x in asked)
            assert c.values(some) == [true_in(f, x, held) for x in some]
        else:
            core = c.core()
            assert core <= set(asked)
            assert not any(all(true_in(f, x, r) for x in core) for r in rows)
        if len(rows) > 8 and rng.random() < 0.2:
            needed = rng.choice(some) ^ rng.randrange(2)
            left = [r for r in rows if true_in(f, needed, r)]
            if len(left) >= 8:
                c.require(needed)
                rows = left


def test_they_agree() -> None:
    """On many atoms, where no table helps."""
    answers = set()
    for seed in range(30):
        rng, f = random.Random(seed), Formulas()
        some = [f.atom(k) for k in range(60)]
        a, b = compiled(f), ByZ3(f)
        for _ in range(15):
            grown(f, rng, some, 60)
            asked = [rng.choice(some[60:]) ^ rng.randrange(2) for _ in range(rng.randrange(4, 30))]
            found = a.solve(asked)
            assert found == b.solve(asked)
            if found:
                assert all(a.values(asked)) and all(b.values(asked))
            else:
                assert not b.solve(sorted(a.core())) and not a.solve(sorted(b.core()))
            answers.add(found)
    assert answers == {True, False}


def test_they_agree_whatever_is_forgotten() -> None:
    """On clauses of three literals, about as many as can just hold together: the hardest questions of their size."""
    answers, forgotten = set(), 0
    for seed in range(8):
        rng, f = random.Random(seed), Formulas()
        atoms = [f.atom(k) for k in range(80)]
        asked = [f.any(x ^ rng.randrange(2) for x in rng.sample(atoms, 3)) for _ in range(352)]
        a, b = forgetful(f), ByZ3(f)
        for _ in range(6):
            some = rng.sample(asked, rng.randrange(330, 353))
            found = a.solve(some)
            assert found == b.solve(some)
            if found:
                assert all(a.values(some))
            else:
                assert not b.solve(sorted(a.core()))
            answers.add(found)
        forgotten += a.forgotten()
    assert answers == {True, False}
    assert forgotten > 1000


@pytest.mark.parametrize("way", WAYS)
def test_edges(way: Callable[[Formulas], Circuits]) -> None:
    f = Formulas()
    x, y, z = (f.atom(n) for n in "xyz")
    c = way(f)
    assert c.solve([])
    assert c.solve([TRUE, x, x, y ^ 1])
    assert c.values([TRUE, FALSE, x, y, f.both(x, y), f.both(x, y ^ 1), z]) == [
        True,
        False,
        True,
        False,
        False,
        True,
        False,
    ]
    assert not c.solve([y, FALSE, x])
    assert c.core() == {FALSE}
    assert not c.solve([y, x, x ^ 1])
    assert c.core() == {x, x ^ 1}
    c.require(f.either(x, y))
    c.require(x ^ 1)
    assert not c.solve([z, y ^ 1])
    assert c.core() == {y ^ 1}
    assert c.solve([z])
    assert c.values([y]) == [True]
    c.require(y ^ 1)
    assert not c.solve([z])
    assert c.core() == set()


def holes(f: Formulas, pigeons: int) -> Sequence[Formula]:
    """Each pigeon in one of the holes, of which there is one less, and no two in the same."""
    sits = [[f.atom((p, h)) for h in range(pigeons - 1)] for p in range(pigeons)]
    alone = [f.both(a[h], b[h]) ^ 1 for a, b in combinations(sits, 2) for h in range(pigeons - 1)]
    return [*(f.any(row) for row in sits), *alone]


@pytest.mark.parametrize("kept", [KEPT, 50])
def test_what_was_learned_is_forgotten(kept: int) -> None:
    """More conflicts than clauses are kept."""
    found = library()
    if found is None:
        pytest.skip("no C compiler")
    f = Formulas()
    c, asked = Compiled(f, found, kept), holes(f, 8)
    for _ in range(3):
        assert not c.solve(asked)
        core = c.core()
        assert core <= set(asked)
        for without in range(len(asked)):
            left = asked[:without] + asked[without + 1 :]
            assert c.solve(left) == (asked[without] in core or not core <= set(left))
            if c.solve(left):
                assert all(c.values(left))
    assert c.forgotten() > 0


def test_a_question_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    f = Formulas()
    c, asked = compiled(f), holes(f, 9)
    monkeypatch.setattr(module, "CONFLICTS", 50)
    with pytest.raises(Undecided):
        c.solve(asked)
    assert c.solve(asked[1:])


def test_without_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "library", lambda: None)
    assert isinstance(circuits(Formulas()), ByZ3)
