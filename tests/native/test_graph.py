"""Whole runs and locks on the native engine: the same verdicts and traces of the same length as the Python engine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from hmmspec.checker.check import check
from hmmspec.checker.native.engine import check_native
from hmmspec.checker.native.graph import GraphCalls
from hmmspec.checker.options import CheckOptions
from hmmspec.checker.verdict import InstanceReport, Status, Trace
from hmmspec.checker.verify import verify
from hmmspec.clib.compile import CannotCompile, compiler
from hmmspec.lang.load import load
from hmmspec.system.build import build_all
from hmmspec.system.system import System
from tests.checker.helpers import statuses, system_of, traces, verdict
from tests.checker.test_liveness import Graph, graphs

ROOT = Path(__file__).resolve().parents[2]
FULL = CheckOptions(symmetry=False)


def has_compiler() -> bool:
    try:
        compiler()
    except CannotCompile:
        return False
    return True


pytestmark = pytest.mark.skipif(not has_compiler(), reason="there is no C compiler")


@pytest.fixture(autouse=True)
def _fast_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HMMSPEC_CFLAGS", "-O1")


def native(system: System, *, most: int = 1 << 30, **options: Any) -> InstanceReport:
    """The native engine's report; traces in it (`most` of them) have been run again and show their properties."""
    report = check_native(system, replace(FULL, engine="native", **options))
    assert report.engine == "native", report.remark
    for v, trace in islice(traces(report), most):
        assert verify(system, trace, v.property) == [], (v.property, trace)
    return report


def shape(trace: Trace | None) -> tuple[int, int | None] | None:
    return None if trace is None else (trace.length, trace.loop)


def agree(system: System, *, most: int = 1 << 30, **options: Any) -> InstanceReport:
    """Both engines say the same."""
    python = check(system, replace(FULL, **{k: v for k, v in options.items() if k != "threads"}))
    ours = native(system, most=most, **options)
    assert (ours.states, ours.transitions, ours.depth) == (python.states, python.transitions, python.depth)
    for a, b in zip(python.verdicts, ours.verdicts, strict=True):
        assert (a.property, a.status, shape(a.trace)) == (b.property, b.status, shape(b.trace))
        assert len(a.others) == len(b.others)
    return ours


# ---------------------------------------------------------------- specs


@pytest.mark.parametrize(
    "name",
    [
        "tests/specs/audit_fair_threads.hmm",
        "tests/specs/audit_leads_to_ends.hmm",
        "tests/specs/audit_lock_cycles.hmm",
        "tests/specs/fair_per_value.hmm",
        "tests/specs/lock_cycle.hmm",
        "tests/specs/recoverable.hmm",
        "tests/specs/rwlocks.hmm",
        "tests/specs/stutter.hmm",
        "specs/bugs/bug22_trylock_starves_holder.hmm",
        "specs/bugs/bug27_waiter_reference_blocks_migration.hmm",
    ],
)
def test_specs(name: str) -> None:
    for system in build_all(load(str(ROOT / name))):
        agree(system)


@pytest.mark.slow
def test_every_spec_that_needs_the_graph() -> None:
    seen = 0
    for path in sorted([*(ROOT / "tests/specs").glob("*.hmm"), *(ROOT / "specs/bugs").glob("*.hmm")]):
        text = path.read_text()
        if not any(word in text for word in ("leads_to", "recoverable", "lock ")):
            continue
        for system in build_all(load(str(path))):
            if check(system, replace(FULL, states=2000)).limit:
                continue
            agree(system)
            seen += 1
    assert seen > 60


def test_cpu_fault() -> None:
    systems = {s.instance: s for s in build_all(load(str(ROOT / "specs/cpu_fault.hmm")))}
    for name in ("v1", "v2_no_preemption"):
        report = agree(systems[name])
        assert verdict(report, "completes").status is Status.VIOLATED
    assert verdict(agree(systems["v3"], threads=2), "completes").status is Status.HOLDS


def test_the_number_of_threads_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    system = next(s for s in build_all(load(str(ROOT / "benchmarks/pages_live.hmm"))) if s.instance == "p32")
    one = agree(system, threads=1)
    assert statuses(one)["all_idle"] == statuses(one)["leaves_device"] == "violated"
    assert statuses(one)["fresh"] == statuses(one)["transfer_ends"] == "holds"
    for threads in (2, 5):
        assert native(system, most=0, threads=threads).verdicts == one.verdicts
    monkeypatch.setattr(GraphCalls, "store_edges", lambda _: False)
    assert native(system, most=0, threads=2).verdicts == one.verdicts


def test_under_symmetry_it_is_said_which_graph_was_looked_at() -> None:
    system = build_all(load(str(ROOT / "tests/specs/fair_per_value.hmm")))[0]
    ours, python = native(system, symmetry=True), check(system, CheckOptions())
    assert statuses(ours) == statuses(python)
    assert verdict(ours, "faults_end").remark == "on the full graph as to Page, whose identities matter"


# ---------------------------------------------------------------- many random graphs in one spec


@dataclass(frozen=True)
class Many:
    """Random graphs side by side: `which` says in which of them a run is; steps of the same kind of fairness are one
    rule for all of them, told apart by which graph they are in."""

    graphs: Sequence[Graph]

    def text(self) -> str:
        size = max(g.size for g in self.graphs)
        last = len(self.graphs) - 1
        out = [f"type Node = 0..{size - 1}; type Which = 0..{last}; var which: Which = any; var at: Node = 0;"]
        for kind, name in (("", "free"), ("fair", "weak"), ("strongly fair", "strong")):
            ways = [
                f"(which == {n} && k == {step} && a == {a} && at == {v} && to == {w})"
                for n, g in enumerate(self.graphs)
                for v, w, step, a in g.edges
                if g.fair[step] == kind
            ]
            some = " || ".join(ways) or "false"
            out.append(
                f"transition {name}(k: 0..2, a: 0..1) when exists to: Node {{ {some} }}"
                f" {{ choose to: Node | {some}; at := to; }}"
            )
            if kind:
                out.append(f"{kind} {name};")
        out.append("terminal anywhere: true;")
        for n, g in enumerate(self.graphs):
            p = " || ".join(f"at == {v}" for v in sorted(g.left)) or "false"
            q = " || ".join(f"at == {v}" for v in sorted(g.right)) or "false"
            out.append(f"leads_to live{n}: which == {n} && ({p}) ~> {q};")
            out.append(f"recoverable back{n}: which == {n} => {q};")
        return "\n".join(out)

    def recoverable(self, n: int) -> bool:
        g = self.graphs[n]
        everything = set(range(g.size))
        return all(g.closure({v}, everything) & g.right for v in g.closure({0}, everything))


def batches(count: int, each: int, seed: int) -> Iterator[Many]:
    found = list(graphs(seed, count * each))
    for i in range(count):
        yield Many(found[i * each : (i + 1) * each])


def test_random_graphs(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a naive search says and as the Python engine does; with edges stored, and with edges made again each time."""
    held = broken = 0
    for many in batches(1, 60, seed=7):
        system = system_of(many.text())
        report = agree(system, most=10)
        said = statuses(report)
        for n, g in enumerate(many.graphs):
            assert (said[f"live{n}"] == "violated") == g.violated(), g.text()
            assert (said[f"back{n}"] == "holds") == many.recoverable(n), g.text()
        held += sum(s == "holds" for s in said.values())
        broken += sum(s == "violated" for s in said.values())
        with monkeypatch.context() as patch:
            patch.setattr(GraphCalls, "store_edges", lambda _: False)
            again = native(system, threads=2, most=0)
        assert again.verdicts == report.verdicts
    assert min(held, broken) > 30


# ---------------------------------------------------------------- locks

LOCKS = """
type Who = 0..2;
lock a; lock b; rwlock m; lock folio[Who];
thread first { one: acquire a; two: acquire b; end: release a; release b; restart; }
thread second { one: acquire b; two: TWO end: release b; release a; restart; }
thread reader[w: Who] {
  one: acquire read m;
  two: either { acquire folio[w]; } or { if (!trylock folio[(w + 1) % 3]) { release m; restart; } goto other; }
  end: release folio[w]; release m; restart;
  other: release folio[(w + 1) % 3]; release m; restart;
}
thread writer(w: Who) { one: acquire folio[w]; WRITE end: release folio[w]; restart; }
"""


def test_locks() -> None:
    locks = LOCKS.replace("WRITE", "two: acquire m; three: release m;")
    trying = "if (!trylock a) { release b; restart; }"
    found = statuses(agree(system_of(locks.replace("TWO", "acquire a;"))))
    assert (found["lock_cycle"], found["lock_order"]) == ("violated", "warning")
    # A reader that holds `m` can always try another folio, and go.
    found = statuses(agree(system_of(locks.replace("TWO", trying))))
    assert (found["lock_cycle"], found["lock_order"]) == ("holds", "warning")
    found = statuses(agree(system_of(LOCKS.replace("TWO", trying).replace("WRITE", ""))))
    assert (found["lock_cycle"], found["lock_order"]) == ("holds", "holds")


@pytest.mark.parametrize(
    ("text", "cycle", "order"),
    [
        # With one CPU only one of the two may run at any time; they still block each other for ever.
        (
            """
            lock ptl; lock lru; type Who = enum { first, second }; var runs: Who = first;
            transition switch { runs := if runs == first then second else first; }
            thread a runs when runs == first  { one: acquire ptl; two: acquire lru; end: release ptl; release lru; }
            thread b runs when runs == second { one: acquire lru; two: acquire ptl; end: release ptl; release lru; }
            """,
            "violated",
            "warning",
        ),
        # Waiting for a condition is no circle.
        (
            """
            lock ptl; var ready: bool = false;
            thread a { one: acquire ptl; two: await ready; end: release ptl; }
            thread b { one: acquire ptl; two: ready := true; release ptl; }
            """,
            "holds",
            "holds",
        ),
        # A trylock beside an acquire in one step.
        (
            """
            lock ptl; lock lru; lock pool;
            thread a { one: acquire ptl; two: acquire lru; if (trylock pool) { release pool; } end: release lru; release ptl; }
            thread b { one: acquire pool; two: if (trylock ptl) { release ptl; } end: release pool; }
            """,
            "holds",
            "holds",
        ),
    ],
)
def test_what_counts_as_waiting(text: str, cycle: str, order: str) -> None:
    found = statuses(agree(system_of(text)))
    assert (found["lock_cycle"], found["lock_order"]) == (cycle, order)


# ---------------------------------------------------------------- refinement


@pytest.mark.parametrize("name", ["refine_steps", "audit_refines_thread", "audit_refines_start"])
def test_refinement(name: str) -> None:
    found = {s.instance: agree(s) for s in build_all(load(str(ROOT / f"tests/specs/{name}.hmm")))}
    if name == "refine_steps":
        assert verdict(found["wrong"], "refines").status is Status.VIOLATED
        assert verdict(found["right"], "refines").status is Status.HOLDS


# ---------------------------------------------------------------- memory and limits


def test_too_little_memory_for_the_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be judged is not said to hold."""
    text = """
    var x: 0..100000 = 0;
    transition up when x < 100000 { x += 1; }
    terminal top: x == 100000;
    recoverable back: x == 0;
    leads_to live: x == 0 ~> x == 100000;
    fair up;
    """
    system = system_of(text)
    assert statuses(native(system, most=0))["live"] == "holds"
    made = GraphCalls.__init__

    def with_little(self: GraphCalls, *given: Any) -> None:
        made(self, *(*given[:7], 200_000, None))

    monkeypatch.setattr(GraphCalls, "__init__", with_little)
    report = native(system, most=0)
    assert "too little to judge whole runs" in report.limit
    assert verdict(report, "live").status is Status.UNKNOWN
    assert report.exit_code == 3


def test_what_is_found_before_a_limit_is_real() -> None:
    """As on the Python engine: a lasso of states that were stored is a lasso."""
    text = """
    var x: 0..9000 = 0;
    transition up when x < 9000 { x += 1; }
    terminal top: x == 9000;
    leads_to live: x == 0 ~> x == 1;
    """
    report = native(system_of(text), states=100)
    assert report.limit
    assert verdict(report, "live").status is Status.VIOLATED
