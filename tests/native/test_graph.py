"""Whole runs and locks on the native engine: the same verdicts and traces of the same length as the Python engine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from hmmspec.checker.check import check
from hmmspec.checker.native.compile import CannotCompile, compiler
from hmmspec.checker.native.engine import check_native
from hmmspec.checker.native.graph import GraphCalls
from hmmspec.checker.options import CheckOptions
from hmmspec.checker.verdict import InstanceReport, Status, Trace
from hmmspec.checker.verify import verify
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


def native(system: System, **options: object) -> InstanceReport:
    """The native engine's report; every trace in it has been run again and shows its property."""
    report = check_native(system, replace(FULL, engine="native", **options))
    assert report.engine == "native", report.remark
    for v, trace in traces(report):
        assert verify(system, trace, v.property) == [], (v.property, trace)
    return report


def shape(trace: Trace | None) -> tuple[int, int | None] | None:
    return None if trace is None else (trace.length, trace.loop)


def agree(system: System, **options: object) -> InstanceReport:
    """Both engines say the same."""
    python = check(system, replace(FULL, **{k: v for k, v in options.items() if k != "threads"}))
    ours = native(system, **options)
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
    for many in batches(2, 60, seed=7):
        system = system_of(many.text())
        report = agree(system)
        said = statuses(report)
        for n, g in enumerate(many.graphs):
            assert (said[f"live{n}"] == "violated") == g.violated(), g.text()
            assert (said[f"back{n}"] == "holds") == many.recoverable(n), g.text()
        held += sum(s == "holds" for s in said.values())
        broken += sum(s == "violated" for s in said.values())
        with monkeypatch.context() as patch:
            patch.setattr(GraphCalls, "store_edges", lambda _: False)
            again = native(system, threads=2)
        assert again.verdicts == report.verdicts
    assert min(held, broken) > 60
