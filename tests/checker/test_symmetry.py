"""Symmetry reduction: same verdicts, same number of full states, real traces; and representatives that are canonical."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import permutations, product

import pytest
from hypothesis import HealthCheck, given, settings

from hmmspec.checker.check import check
from hmmspec.checker.explicit.symmetry import Symmetry
from hmmspec.checker.options import CheckOptions
from hmmspec.checker.verdict import InstanceReport, Level
from hmmspec.system import expr as E
from hmmspec.system import system as S
from hmmspec.system.run import Interpreter
from hmmspec.system.system import System
from tests.checker.helpers import checked, statuses, system_of
from tests.system.systems import PAGE, random_system, systems


def agree(system: System, **options: int) -> tuple[InstanceReport, InstanceReport] | None:
    """Both ways; None where a limit ended the full search."""
    full = checked(system, symmetry=False, **options)
    if full.limit:
        return None
    reduced = checked(system, **options)
    assert statuses(full) == statuses(reduced)
    assert reduced.states in (full.states, None if reduced.reduction == "representatives" else full.states)
    assert full.depth == reduced.depth
    for a, b in zip(full.verdicts, reduced.verdicts, strict=True):
        if a.level is Level.VIOLATED_SHORTEST and a.trace and b.trace:
            assert a.trace.length == b.trace.length, a.property
    return full, reduced


def orbits_of(system: System) -> int:
    """The orbits counted by renaming every reachable state in every way."""
    interp = Interpreter(system)
    symmetry = Symmetry(system, [t for t in system.symmetric if t.size > 1])
    renamings = list(product(*(permutations(range(t.size)) for t in symmetry.types)))
    seen, todo = set(interp.initial()), list(interp.initial())
    while todo:
        for _, _, t in interp.expand(todo.pop())[0]:
            if t not in seen:
                seen.add(t)
                todo.append(t)
    return len({min(repr(symmetry.rename(s, by)) for by in renamings) for s in seen})


COLUMNS = """
type Page = symmetric[4]; type Cpu = symmetric[2];
var pins[Page]: 0..2 = 0; var kind[Page]: enum { none, some } = none; var on[Cpu]: bool = false;
transition pin(p: Page) when pins[p] < 2 && kind[p] == some { pins[p] += 1; }
transition unpin(p: Page) when pins[p] > 0 { pins[p] -= 1; }
transition flip(p: Page, c: Cpu) when on[c] { kind[p] := if kind[p] == none then some else none; on[c] := false; }
transition wake(c: Cpu) { on[c] := true; }
invariant few: count(p: Page | pins[p] == 2) < 3;
step slow: forall p: Page { pins'[p] <= pins[p] + 1 };
reachable all: forall p: Page { pins[p] > 0 };
"""
TABLE = """
type Mm = symmetric[2]; type Page = symmetric[3];
var pte[Mm][Page]: enum { none, read, write } = none;
transition map(m: Mm, p: Page) when pte[m][p] == none { pte[m][p] := read; }
transition write(m: Mm, p: Page) when pte[m][p] == read { pte[m][p] := write; }
transition unmap(m: Mm, p: Page) when pte[m][p] == write { pte[m][p] := none; }
invariant few: count(m: Mm, p: Page | pte[m][p] == write) < 4;
"""
RING = """
type Node = symmetric[4];
var next[Node]: Node = any; var at: Node = any;
transition hop { at := next[at]; }
transition swap(a: Node, b: Node) when a != b { let x = next[a]; next[a] := next[b]; next[b] := x; }
invariant away: next[at] != at || at == at;
reachable loop: forall n: Node { next[n] == n };
"""
VALUES = """
type Cpu = symmetric[2]; type Page = symmetric[3];
type Owner = Cpu | Page | enum { nobody };
type Entry = record { page: Page?; owner: Owner; };
var entry: Entry = Entry(page = null, owner = nobody);
var waiting: queue[2] of Page = [];
var dirty: set of Page = {};
var seen[Owner]: bool = false;
transition take(c: Cpu) { entry.owner := c; seen[c] := true; }
transition give(p: Page) { entry.owner := p; entry.page := p; seen[p] := true; }
transition wait(p: Page) when size(waiting) < 2 { push(waiting, p); dirty := dirty + {p}; }
transition serve when size(waiting) > 0 { dirty := dirty - {head(waiting)}; pop(waiting); }
invariant small: size(dirty) < 3;
invariant own: entry.owner == nobody || seen[entry.owner];
"""
THREADS = """
type Cpu = symmetric[2]; type Page = symmetric[2];
rwlock mmap_lock; lock folio[Page]; var users: set of Cpu = {};
thread fault[c: Cpu](p: Page) {
  var mine_too: Page? = null;
  take:  acquire read mmap_lock;
  lock_: acquire folio[p];
  work:  mine_too := p; users := users + {c};
  done:  release folio[p]; release mmap_lock; users := users - {c}; restart;
}
thread unmap { take: acquire mmap_lock; done: release mmap_lock; restart; }
invariant one: forall c, d: Cpu | c != d && fault[c] == done && fault[d] == done { fault[c].mine_too != fault[d].mine_too };
reachable both: forall c: Cpu { fault[c] == done };
"""
PAIRS = """
type Cpu = symmetric[2]; type Page = symmetric[2];
var last: set of Cpu = {}; lock ptl;
thread walk[c: Cpu][p: Page] { a: acquire ptl; last := last + {c}; b: last := last - {c}; release ptl; }
"""
ALL = {"columns": COLUMNS, "table": TABLE, "ring": RING, "values": VALUES, "threads": THREADS, "pairs": PAIRS}


@pytest.mark.parametrize("name", ALL)
def test_reduced_and_full_agree(name: str) -> None:
    both = agree(system_of(ALL[name]))
    assert both is not None
    full, reduced = both
    assert reduced.reduction == "orbits"
    assert reduced.orbits is not None and full.states is not None
    assert reduced.orbits < full.states
    if full.states < 3000:
        assert reduced.orbits == orbits_of(system_of(ALL[name]))


@pytest.mark.parametrize("name", ALL)
def test_one_representative_and_the_size_of_each_orbit(name: str) -> None:
    """Every renaming of a state has the same representative, and the orbit is as large as it says."""
    system = system_of(ALL[name])
    interp = Interpreter(system)
    symmetry = Symmetry(system, system.symmetric)
    renamings = list(product(*(permutations(range(t.size)) for t in symmetry.types)))
    rng = random.Random(name)
    state = next(iter(interp.initial()))
    for _ in range(60):
        orbit = {symmetry.rename(state, by) for by in renamings}
        assert {symmetry.representative(t) for t in orbit} == {(symmetry.canonical(state), len(orbit))}
        assert symmetry.rename(state, symmetry.renaming(state)) == symmetry.canonical(state)
        steps = interp.expand(state)[0]
        state = rng.choice(steps)[2] if steps else next(iter(interp.initial()))


def test_cycles_that_no_signature_tells_apart() -> None:
    """Two rings of three and one of six look alike from every node: only trying tells them apart."""
    system = system_of("type Node = symmetric[6]; var next[Node]: Node = any; transition t { skip; }")
    symmetry = Symmetry(system, system.symmetric)
    two, one = bytes([1, 2, 0, 4, 5, 3]), bytes([1, 2, 3, 4, 5, 0])
    assert symmetry.representative(two)[0] != symmetry.representative(one)[0]
    assert (symmetry.representative(two)[1], symmetry.representative(one)[1]) == (40, 120)
    shuffled = symmetry.rename(two, ((3, 5, 1, 0, 4, 2),))
    assert shuffled != two
    assert symmetry.canonical(shuffled) == symmetry.canonical(two)


def test_too_many_ties_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hmmspec.checker.explicit.symmetry.TRIES_AT_MOST", 2)
    system = system_of(RING)
    reduced = checked(system)
    assert (reduced.reduction, reduced.states) == ("representatives", None)
    full = checked(system, symmetry=False)
    assert statuses(reduced) == statuses(full)
    assert full.states is not None and reduced.orbits is not None
    assert reduced.orbits < full.states


def test_sizes_of_one_are_no_symmetry() -> None:
    report = check(
        system_of("type Page = symmetric[1]; var on[Page]: bool = false; transition t(p: Page) { on[p] := true; }")
    )
    assert (report.orbits, report.reduction, report.states) == (None, "", 2)


@given(systems())
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_generated_systems_agree(system: System) -> None:
    agree(system, states=600)


@pytest.mark.parametrize("seed", range(6))
def test_random_systems_agree(seed: int) -> None:
    for number in range(12):
        agree(random_system(random.Random(1000 * seed + number)), states=800)


def with_liveness(system: System, rng: random.Random) -> System:
    """The system with some fairness and a `leads_to`; which types remain to be reduced is a matter of chance."""
    fairness = []
    for r in system.rules:
        if rng.random() < 0.7:
            prefix = r.index_arity if r.thread else rng.choice((0, len(r.params)))
            fairness.append(S.Fairness(r.name, rng.random() < 0.5, (r.number,), prefix))
    bodies: list[E.Expr] = [p.body for p in system.properties if isinstance(p, S.Invariant)] or [E.FALSE]
    left = rng.choice((E.TRUE, *bodies))
    right = rng.choice((*bodies, *(E.Not(b) for b in bodies)))
    binders = (E.Binder("page", PAGE, E.OverType(PAGE)),) if rng.random() < 0.3 else ()
    leads = S.LeadsTo("live", "", binders, None, left, right)
    return replace(system, fairness=tuple(fairness), properties=(*system.properties, leads))


@pytest.mark.parametrize("seed", range(4))
def test_leads_to_of_random_systems_agrees(seed: int) -> None:
    """Reduced by what fairness leaves, if anything: the same verdict, and each lasso a real, fair run."""
    rng = random.Random(seed)
    seen: set[str] = set()
    for number in range(25):
        both = agree(with_liveness(random_system(random.Random(77 * seed + number)), rng), states=400)
        if both is not None:
            seen.add(statuses(both[1])["live"])
    assert {"holds", "violated"} <= seen


def test_options_are_plain_data() -> None:
    assert CheckOptions() == CheckOptions(engine="python", symmetry=True)
