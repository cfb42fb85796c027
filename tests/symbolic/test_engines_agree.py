"""`check --engine all`: what every engine says is compared, and a defect in any of them is found."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from hmmspec.checker.check import check
from hmmspec.checker.options import CheckOptions
from hmmspec.checker.symbolic import agreement
from hmmspec.checker.symbolic.agreement import check_all
from hmmspec.checker.symbolic.settle import prove_instance
from hmmspec.checker.symbolic.steps import Step, Stepper
from hmmspec.checker.symbolic.values import SymValue
from hmmspec.checker.verdict import InstanceReport, Level, Progress, Status, Trace, Verdict
from hmmspec.diagnostics import InternalError, Limit
from hmmspec.lang.load import load
from hmmspec.system.build import build_all
from hmmspec.system.system import Rule, System
from tests.symbolic.settling import system_of

ROOT = Path(__file__).resolve().parents[2]
SOME = (
    "asserts",
    "choices",
    "lock_misuse",
    "queue",
    "rwlocks",
    "sets",
    "threads_stop",
    "recoverable",
    "unions",
    "fair_per_value",
    "stutter",
)
OPTIONS = CheckOptions(engine="all")

TEXT = """
var n: 0..9 = 0;
transition up when n < 5 { n += 1; }
transition down when n > 0 { n -= 1; }
invariant low: n < 5;
invariant fits: n < 6;
reachable three: n == 3;
expect default violates low;
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where what is compiled is kept."""
    return tmp_path_factory.mktemp("compiled")


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """C is compiled without being made fast.  Where there is no compiler the other engines are compared."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    monkeypatch.setenv("HMMSPEC_CFLAGS", "-O0")


@pytest.mark.parametrize("name", SOME)
def test_engines_agree(name: str) -> None:
    for system in build_all(load(str(ROOT / f"tests/specs/{name}.hmm"))):
        report = check_all(system, OPTIONS)
        assert "engines that agree: python" in report.remark
        assert "z3" in report.remark
        assert report.exit_code == check(system, CheckOptions()).exit_code


def test_the_report_is_that_of_who_shows_most() -> None:
    report = check_all(system_of(TEXT), OPTIONS)
    assert report.engine == "python"
    assert report.states == 6
    assert report.exit_code == 0
    # Too many states for the one: the other has them all proved.
    large = "".join(f"var x{i}: bool = false;\ntransition t{i} {{ x{i} := !x{i}; }}\n" for i in range(8))
    report = check_all(system_of(TEXT + large), replace(OPTIONS, states=20))
    assert report.engine == "z3"
    assert "python did not finish (limit of 20 states)" in report.remark
    assert report.exit_code == 0


def changed(of: Callable[[Verdict], Verdict], name: str) -> Callable[[InstanceReport], InstanceReport]:
    def change(report: InstanceReport) -> InstanceReport:
        return replace(report, verdicts=tuple(of(v) if v.property == name else v for v in report.verdicts))

    return change


def holds(v: Verdict) -> Verdict:
    return replace(v, status=Status.HOLDS, level=Level.EXHAUSTIVE, trace=None)


def shorter(v: Verdict) -> Verdict:
    assert v.trace is not None
    return replace(v, trace=replace(v.trace, steps=v.trace.steps[:-1]))


def overlooked(v: Verdict) -> Verdict:
    return replace(v, status=Status.UNKNOWN, level=Level.BOUNDED, trace=None)


def violated(v: Verdict) -> Verdict:
    return replace(v, status=Status.VIOLATED, level=Level.VIOLATED_SHORTEST, trace=Trace({}, ()))


DEFECTS = [
    ("python", changed(holds, "low"), "low: holds (python), violated (z3)"),
    ("python", changed(violated, "fits"), "fits: violated (python), holds (z3)"),
    ("z3", changed(holds, "low"), "low: violated (python), holds (z3)"),
    ("z3", changed(shorter, "low"), "low: a shortest run of 5 steps (python), a shortest run of 4 steps (z3)"),
    ("z3", changed(violated, "three"), "three: holds (python), violated (z3)"),
    (
        "z3",
        lambda r: replace(changed(overlooked, "low")(r), bounded=7),
        "low: in a run of 5 steps (python), in no run of 7",
    ),
    ("native", lambda r: replace(r, engine="native", states=7), "states: 6 (python), 7 (native)"),
    ("native", lambda r: replace(r, engine="native", transitions=1), "transitions: 10 (python), 1 (native)"),
    ("native", lambda r: replace(r, engine="native", depth=4), "depth: 5 (python), 4 (native)"),
]


@pytest.mark.parametrize(("name", "defect", "words"), DEFECTS, ids=lambda x: x if isinstance(x, str) else "")
def test_a_defect_is_found(
    monkeypatch: pytest.MonkeyPatch, name: str, defect: Callable[[InstanceReport], InstanceReport], words: str
) -> None:
    real = {"python": check, "native": check, "z3": prove_instance}

    def as_(engine: str) -> agreement.Engine:
        def run(system: System, options: CheckOptions, progress: Callable[[Progress], None] | None) -> InstanceReport:
            report = real[engine](system, replace(options, engine="python"), progress)
            return defect(report) if engine == name else replace(report, engine=engine)

        return run

    monkeypatch.setattr(agreement, "ENGINES", {n: as_(n) for n in real})
    monkeypatch.setattr(agreement, "compiler", lambda: None)
    with pytest.raises(InternalError, match=r"the engines disagree on test\.hmm, instance default") as error:
        check_all(system_of(TEXT), OPTIONS)
    assert words in str(error.value)


def test_a_defect_in_the_encoding_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not in what an engine says, but in what it does: it does not know that `up` goes on from 4."""
    real = Stepper.step

    def crippled(self: Stepper, rule: Rule, state: Mapping[str, SymValue]) -> Step:
        step = real(self, rule, state)
        if rule.name != "up":
            return step
        return replace(step, enabled=self.f.both(step.enabled, state["n"][4] ^ 1))

    monkeypatch.setattr(Stepper, "step", crippled)
    with pytest.raises(InternalError, match=r"low: violated \(python\), holds \(z3\)"):
        check_all(system_of(TEXT), OPTIONS)


def test_an_engine_that_cannot_run_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def unable(*_: object) -> InstanceReport:
        raise Limit("too large to encode")

    monkeypatch.setitem(agreement.ENGINES, "z3", unable)
    report = check_all(system_of(TEXT), OPTIONS)
    assert "z3 did not run: too large to encode" in report.remark
    for name in agreement.ENGINES:
        monkeypatch.setitem(agreement.ENGINES, name, unable)
    with pytest.raises(Limit, match="too large to encode"):
        check_all(system_of(TEXT), OPTIONS)
