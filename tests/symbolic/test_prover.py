"""Proofs for any number of identities: what is inductive, what is missing and found, what is false, what stands in the
way."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hmmspec.checker.symbolic.candidates import Cube
from hmmspec.checker.symbolic.cells import Id, abstract, concrete, renamed, slots
from hmmspec.checker.symbolic.encoding import Encoding
from hmmspec.checker.symbolic.grounded import Grounded, Known
from hmmspec.checker.symbolic.induction import Claim, Induction
from hmmspec.checker.symbolic.lemmas import Lemma
from hmmspec.checker.symbolic.open_encoding import OpenEncoding
from hmmspec.checker.symbolic.prover import Goal, Proved, ProveOptions, goals_of, prove
from hmmspec.checker.symbolic.samples import Instances, Sampler
from hmmspec.checker.symbolic.seen import contradicted
from hmmspec.checker.symbolic.strengthen import Strengthener
from hmmspec.checker.verdict import Level, Status
from hmmspec.checker.verify import verify
from hmmspec.diagnostics import Source
from hmmspec.lang.load import load, load_source
from hmmspec.system.build import build_all
from hmmspec.system.run import Interpreter
from hmmspec.system.system import System
from tests.symbolic.certified import MOVE, PINS, TYPES, WORKER

ROOT = Path(__file__).resolve().parents[2]

PAGES = f"""\
{TYPES}var seen: set of Page = {{}};
var tries: 0..3 = 0;
{PINS}transition take(c: Cpu, p: Page) when owner[p] == null && !pinned[p] {{ owner[p] := c; seen += {{p}}; }}
{MOVE}transition drop(p: Page) when owner[p] != null {{ owner[p] := null; }}
transition back {{ for p: Page | place[p] == device && owner[p] == null {{ place[p] := system; }} }}
transition some {{ choose p: Page | pinned[p]; pinned[p] := false; }}
transition again when exists p: Page {{ pinned[p] }} {{ tries += 1; }}
{WORKER}invariant stays: forall p: Page | pinned[p] {{ place[p] == system }};
invariant alone: forall p: Page | pinned[p] {{ owner[p] == null }};
invariant seen_first: forall p: Page | owner[p] != null {{ p in seen }};
invariant few: count(p: Page | pinned[p]) <= 2;
invariant nobody: forall p: Page {{ owner[p] == null }};
invariant locked: forall c: Cpu | worker[c] == put {{ held(lru) }};
invariant one_puts: forall c, d: Cpu | c != d {{ !(worker[c] == put && worker[d] == put) }};
invariant counted: count(p: Page | pinned[p]) <= 7;
step no_move: forall p: Page | pinned[p] {{ place'[p] == place[p] }};
"""


def proved(names: tuple[str, ...], every: tuple[str, ...] = ("Cpu", "Page"), text: str = PAGES) -> Proved:
    spec = load_source(Source("pages.hmm", text))
    system = build_all(spec)[0]
    return prove(spec, system, Goal(names, every), ProveOptions(seconds=120))


def test_what_is_inductive_needs_nothing_else() -> None:
    (one,) = proved(("seen_first",)).verdicts
    assert (one.status, one.level) == (Status.HOLDS, Level.INDUCTIVE)
    assert one.proof is not None
    assert (one.proof.every, one.proof.lemmas, one.proof.uses) == (("Cpu", "Page"), (), ())


def test_finds_what_is_missing_and_it_is_inductive() -> None:
    """Every step keeps claims and lemmas together, whatever their number: asked anew, without what the search knew."""
    result = proved(("stays", "no_move", "one_puts", "locked", "double_acquire", "foreign_release", "held_at_stop"))
    assert {v.property: v.status for v in result.verdicts} == dict.fromkeys(
        (v.property for v in result.verdicts), Status.HOLDS
    )
    assert result.lemmas
    spec = load_source(Source("pages.hmm", PAGES))
    (system,) = build_all(spec)
    every = ("Cpu", "Page")
    induction = Induction(OpenEncoding(system, frozenset(every)), Instances(spec, system, every), seconds=60)
    together = [*result.claims, *result.lemmas]
    assert all(induction.start_breaks(c) is False for c in together)
    for step in induction.encoding.steps:
        for claim in together:
            assert induction.kept([claim], step, together) is True, (claim.name, step.rule.name)
    # Without the lemmas it is not.
    alone = next(c for c in result.claims if c.name == "stays")
    assert any(induction.kept([alone], step, [alone]) is not True for step in induction.encoding.steps)


def test_what_is_false_has_a_real_run() -> None:
    spec = load_source(Source("pages.hmm", PAGES))
    result = prove(spec, build_all(spec)[0], Goal(("nobody", "few", "spec_error"), ("Cpu", "Page")), ProveOptions())
    for v, size in zip(result.verdicts, ("1", "3", "1"), strict=True):
        assert (v.status, v.level) == (Status.VIOLATED, Level.VIOLATED_SHORTEST), v.property
        assert v.trace is not None
        assert v.proof is not None
        sizes = dict(v.proof.sizes)
        assert sizes["PAGES"] == size
        instances = Instances(spec, build_all(spec)[0], ("Cpu", "Page"))
        system = next(instances.of(s) for s in instances.sizes(4) if str(s) == f"{sizes['CPUS']} Cpu, {size} Page")
        assert verify(system, v.trace, v.property) == []


def test_runs_are_looked_for_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody tries to prove what a short run violates."""
    asked: list[str] = []

    def add(_search: Strengthener, _g: Grounded, claim: Known, _holes: int) -> bool:
        asked.append(claim.name)
        return False

    monkeypatch.setattr(Strengthener, "add", add)
    monkeypatch.setattr(Strengthener, "together", lambda *_: None)
    found = proved(("nobody", "few", "no_move"))
    assert [v.status for v in found.verdicts] == [Status.VIOLATED, Status.VIOLATED, Status.UNKNOWN]
    assert set(asked) == {"no_move"}
    assert found.verdicts[2].proof is not None
    assert "of 16 instances with up to 4 of each type" in found.verdicts[2].proof.reason
    assert [dict(v.proof.sizes) for v in found.verdicts[:2] if v.proof] == [
        {"CPUS": "1", "PAGES": "1"},
        {"CPUS": "1", "PAGES": "3"},
    ]


def test_the_order_of_sets_does_not_matter() -> None:
    """The same is found with any hash seed."""
    said = []
    for seed in ("0", "1"):
        command = [sys.executable, "-m", "hmmspec", "prove", "--json", "--quiet", "specs/mirror.hmm"]
        env = {**os.environ, "PYTHONHASHSEED": seed}
        done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=True)
        said.append([v["proof"]["invariants"] for v in json.loads(done.stdout)["verdicts"]])
    assert said[0] == said[1]


def test_what_counts_is_refused_by_name() -> None:
    result = proved(("counted", "seen_first"))
    counted, seen_first = result.verdicts
    assert counted.status is Status.UNKNOWN
    assert counted.proof is not None
    assert "counts identities" in counted.proof.reason
    assert seen_first.status is Status.HOLDS


def test_a_size_that_is_used_elsewhere_is_refused() -> None:
    text = PAGES + "var number: 0..PAGES = 0; transition up when number < PAGES { number += 1; }"
    (one,) = proved(("stays",), text=text).verdicts
    assert one.status is Status.UNKNOWN
    assert one.proof is not None
    assert "number" in one.proof.reason
    assert "PAGES" in one.proof.reason


def test_what_has_no_proof_shows_the_smallest_step() -> None:
    """Nothing that facts of one or two pages say makes it inductive: it needs a queue's elements."""
    text = """spec line
param PAGES = 2; type Page = symmetric[PAGES];
var line: queue[2] of Page = []; var lost[Page]: bool = false; var gone[Page]: bool = false;
transition put(p: Page) when !lost[p] && size(line) < 2 { push(line, p); }
transition lose(p: Page) when gone[p] { lost[p] := true; }
transition get when size(line) > 0 { let p = head(line); pop(line); if (lost[p]) { gone[p] := true; } }
invariant never: forall p: Page { !gone[p] };
prove never for every Page;
"""
    spec = load_source(Source("line.hmm", text))
    (system,) = build_all(spec)
    (one,) = prove(spec, system, goals_of(system)[0], ProveOptions(seconds=30)).verdicts
    if one.status is Status.HOLDS:
        return  # a lemma without the queue was found
    assert one.proof is not None
    assert one.proof.gap is not None
    assert len(one.proof.gap.steps) == 1
    assert dict(one.proof.sizes) == {"PAGES": "1"}


LIST = """spec list
param PAGES = 3; type Page = symmetric[PAGES];
var next[Page]: Page? = null; var first: Page? = null; var on[Page]: bool = false; var done[Page]: bool = false;
transition add(p: Page) when !on[p] && !done[p] { next[p] := first; first := p; on[p] := true; }
transition take when first != null {
  let p = first; first := next[p]; next[p] := null; on[p] := false; done[p] := true;
}
invariant no_pair: forall p, q: Page | p != q { !(next[p] == q && next[q] == p) };
invariant listed: first != null => on[first];
prove no_pair, listed for every Page;
"""


def test_a_proof_that_rests_on_a_wrong_guess_shows_a_step_too() -> None:
    """Lemmas that hold in all small instances and are kept in none larger do not hide what stands in the way."""
    spec = load_source(Source("list.hmm", LIST))
    (system,) = build_all(spec)
    for v in prove(spec, system, goals_of(system)[0], ProveOptions(seconds=60)).verdicts:
        assert v.status is not Status.VIOLATED
        if v.status is Status.UNKNOWN:
            assert v.proof is not None
            assert v.proof.gap is not None, v.proof.reason
            assert len(v.proof.gap.steps) == 1
            assert v.proof.blocked_by


def test_errors_where_a_property_is_judged_count() -> None:
    """spec_error is not proved where judging an invariant may be one."""
    text = """spec trap
param PAGES = 2; type Page = symmetric[PAGES];
var on[Page]: bool = false; var n: 0..1 = 1;
transition go(p: Page) { on[p] := true; n := 0; }
invariant fine: forall p: Page | on[p] { 1 / n == 1 };
invariant calm: forall p: Page { on[p] || !on[p] };
"""
    spec = load_source(Source("trap.hmm", text))
    (system,) = build_all(spec)
    result = prove(spec, system, Goal(("spec_error", "calm"), ("Page",)), ProveOptions(seconds=30))
    assert [v.status for v in result.verdicts] == [Status.VIOLATED, Status.HOLDS]


LOCKS = """spec locks
param CPUS = 2; type Cpu = symmetric[CPUS];
lock a; lock b;
thread one[c: Cpu] { first: acquire a; second: acquire b; last: release b; release a; restart; }
thread two[c: Cpu] { first: acquire FIRST; second: acquire SECOND; last: release FIRST; release SECOND; restart; }
"""


@pytest.mark.parametrize(("first", "second", "status"), [("a", "b", Status.HOLDS), ("b", "a", Status.VIOLATED)])
def test_cyclic_waits(first: str, second: str, status: Status) -> None:
    """An order of the locks is a proof; without one there is a run here."""
    text = LOCKS.replace("FIRST", first).replace("SECOND", second)
    spec = load_source(Source("locks.hmm", text))
    (system,) = build_all(spec)
    (one,) = prove(spec, system, Goal(("lock_cycle",), ("Cpu",)), ProveOptions(seconds=60)).verdicts
    assert one.status is status
    assert (one.trace is None) == (status is Status.HOLDS)


@pytest.mark.parametrize("name", ["page_life", "cpu_fault", "mirror"])
def test_no_sampled_state_contradicts_a_candidate(name: str) -> None:
    """In terms of the interpreter: every lemma holds in every sampled state of every size."""
    spec = load(str(ROOT / f"specs/{name}.hmm"))
    system = build_all(spec)[0]
    goal = goals_of(system)[0]
    instances = Instances(spec, system, goal.every)
    samples = [Sampler(instances.interpreter(instances.same(n))).sample(instances.same(n), 2000) for n in (1, 2)]
    search = Strengthener(samples, [], [])
    g = Grounded(instances.interpreter(instances.same(2)), instances.same(2), float("inf"))
    for n in goal.properties[:4]:
        search.add(g, Known(n), float("inf"))
    assert search.lemmas
    for lemma in search.lemmas:
        for r in samples:
            holds = r.interp.truth(lemma.expr(r.interp.system))
            assert all(map(holds, r.states)), lemma
            # By columns the same comes out, of what is true and of what is not.
            assert not contradicted(lemma, r)
            for i in range(len(lemma.literals)):
                less = Lemma((*lemma.literals[:i], *lemma.literals[i + 1 :]))
                if less.literals:
                    truth = r.interp.truth(less.expr(r.interp.system))
                    assert contradicted(less, r) is not all(map(truth, r.states)), less


@pytest.mark.parametrize("path", sorted((ROOT / "specs").glob("*.hmm")), ids=lambda p: p.stem)
def test_cells_are_those_of_the_encoding(path: Path) -> None:
    """The slots and atoms of each cell: a state read by cells is the state read by the encoding."""
    system = build_all(load(str(path)))[0]
    interp = Interpreter(system)
    encoding = Encoding(interp)
    state = next(iter(interp.initial()))
    cells = slots(system)
    count = sum(1 for _ in encoding.atoms)
    assert all(a.stop <= count for s in cells for a in [s.atoms])
    for s in cells:
        if s.bit < 0 and not s.length:
            value = state[s.slot]
            assert isinstance(value, int)
            assert concrete(s.type, abstract(s.type, value)) == value
    seen = [(s.cell.variable, a) for s in cells for a in s.atoms]
    assert len(seen) == len(set(seen))
    assert set(seen) <= set(encoding.atoms)


def test_a_name_for_each_identity() -> None:
    spec = load_source(Source("pages.hmm", PAGES))
    system: System = build_all(spec)[0]
    (cell,) = [s for s in slots(system) if s.cell.variable == "owner"][:1]
    value = abstract(cell.type, 2)
    assert renamed(value, {Id("Cpu", 1): Id("Cpu", 0)}) == abstract(cell.type, 1)
    assert Cube.__doc__
    assert isinstance(Claim("x", None), Claim)
