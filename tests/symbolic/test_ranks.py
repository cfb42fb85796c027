"""No cyclic wait, by an order of the locks."""

from __future__ import annotations

from pathlib import Path

import pytest

from hmmspec.checker.check import check
from hmmspec.checker.options import CheckOptions
from hmmspec.checker.symbolic.formulas import Formula
from hmmspec.checker.symbolic.induction import Claim, Induction
from hmmspec.checker.symbolic.open_encoding import OpenEncoding
from hmmspec.checker.symbolic.ranks import NoRank, Rank, empty_hands, obligations, rank
from hmmspec.checker.symbolic.samples import Instances
from hmmspec.checker.verdict import Status
from hmmspec.diagnostics import Source
from hmmspec.lang import syntax as S
from hmmspec.lang.load import load, load_source
from hmmspec.system.build import build_all
from hmmspec.system.system import System

ROOT = Path(__file__).resolve().parents[2]


def ranked(spec: S.Spec, system: System, every: tuple[str, ...]) -> tuple[Induction, list[Formula], Rank | NoRank]:
    """The rank with what threads hold where they stand, as far as that is kept by every step."""
    induction = Induction(OpenEncoding(system, frozenset(every)), Instances(spec, system, every), seconds=10)
    claims = [Claim(f"hands {i}", e) for i, e in enumerate(empty_hands(system))]
    claims = [c for c in claims if induction.start_breaks(c) is False]
    while True:
        known = [induction.holds(c) for c in claims]
        broken = {
            c
            for c in claims
            for step in induction.encoding.steps
            if induction.satisfiable([*known, induction.broken(c, step)]) is not False
        }
        if not broken:
            return induction, known, rank(induction.encoding, known, induction.satisfiable)
        claims = [c for c in claims if c not in broken]


def of_text(text: str, *every: str) -> Rank | NoRank:
    return ranked(*_spec(text), every)[2]


def _spec(text: str) -> tuple[S.Spec, System]:
    types = "param CPUS = 2; param PAGES = 2; type Cpu = symmetric[CPUS]; type Page = symmetric[PAGES];"
    spec = load_source(Source("locks.hmm", f"spec locks\n{types}\n{text}"))
    return spec, build_all(spec)[0]


def test_an_order_for_any_number() -> None:
    found = of_text(
        """lock ptl; lock folio[Page]; rwlock mmap;
thread fault[Cpu](p: Page) {
  a: acquire read mmap; b: acquire folio[p]; c: acquire ptl; d: release ptl; release folio[p]; release mmap; restart; }
thread map { a: acquire mmap; b: acquire ptl; c: release ptl; release mmap; restart; }
""",
        "Cpu",
        "Page",
    )
    assert found == Rank(("mmap", "folio[..]", "ptl"))


def test_two_locks_in_both_orders() -> None:
    found = of_text(
        """lock a; lock b;
thread x[Cpu] { one: acquire a; two: acquire b; end: release b; release a; restart; }
thread y { one: acquire b; two: acquire a; end: release a; release b; restart; }
""",
        "Cpu",
    )
    assert found == NoRank(("a", "b"), "x.two waits for b while it holds a; y.two waits for a while it holds b")


def test_two_locks_of_one_array() -> None:
    text = """lock folio[Page];
thread x[Cpu](p: Page) { one: acquire folio[p]; two: choose q: Page | q != p; acquire folio[q];
  end: stop; }
"""
    found = of_text(text, "Cpu", "Page")
    assert found == NoRank(("folio[..]", "folio[..]"), "x.two waits for another folio[..] while it holds folio[..]")


def test_whoever_tries_waits_for_nothing() -> None:
    text = """lock a; lock b;
thread x[Cpu] { one: acquire a; two: acquire b; end: release b; release a; restart; }
thread y { one: acquire b; two: if (trylock a) { release a; } release b; restart; }
"""
    assert of_text(text, "Cpu") == Rank(("a", "b"))


def test_readers_do_not_wait_for_readers() -> None:
    text = """rwlock m; lock a; lock b;
thread x[Cpu] { one: acquire read m; two: acquire a; end: release a; release m; restart; }
thread y { one: acquire a; two: acquire read m; end: release m; release a; restart; }
"""
    assert of_text(text, "Cpu") == Rank(("read m", "b", "a", "m"))
    writer = text + "thread z { one: acquire m; end: release m; restart; }"
    assert of_text(writer, "Cpu") == Rank(("read m", "b", "a", "m"))
    also = text + "thread z { one: acquire read m; two: acquire a; end: release a; release m; restart; }"
    assert isinstance(of_text(also.replace("acquire read m; end", "acquire m; end"), "Cpu"), NoRank)


def test_guards_of_scheduling_do_not_count() -> None:
    """Who is not scheduled waits all the same."""
    text = """lock a; lock b; var on: bool = false;
thread x[Cpu] runs when on { one: acquire a; two: acquire b; end: release b; release a; restart; }
thread y { one: acquire b; two: acquire a; end: release a; release b; restart; }
"""
    assert isinstance(of_text(text, "Cpu"), NoRank)


SPECS = [
    *(
        ROOT / "tests" / "specs" / f"{name}.hmm"
        for name in ("lock_cycle", "audit_lock_cycles", "rwlocks", "procedures")
    ),
    *(ROOT / "specs" / "bugs").glob("bug0[39]*.hmm"),
]


@pytest.mark.parametrize("path", SPECS, ids=lambda p: p.stem)
def test_where_there_is_a_rank_there_is_no_cycle(path: Path) -> None:
    spec = load(str(path))
    for system in build_all(spec)[:2]:
        if not system.locks:
            continue
        induction, known, found = ranked(spec, system, ())
        report = check(system, CheckOptions(symmetry=False, states=20000, witness=False))
        violated = [v.property for v in report.verdicts if v.status is Status.VIOLATED]
        if isinstance(found, Rank):
            assert "lock_cycle" not in violated
            said = obligations(induction.encoding, found.order)
            assert all(induction.satisfiable([*known, a.condition]) is False for a in said)


def test_an_order_can_be_looked_at_again() -> None:
    text = """lock a; lock b;
thread x[Cpu] { one: acquire a; two: acquire b; end: release b; release a; restart; }
"""
    induction, known, found = ranked(*_spec(text), ("Cpu",))
    assert found == Rank(("a", "b"))
    for order, fine in ((("a", "b"), True), (("b", "a"), False)):
        said = list(obligations(induction.encoding, order))
        assert ("x.two waits for b while it holds a" in map(str, said)) is not fine
        assert all(induction.satisfiable([*known, a.condition]) is False for a in said) is fine
