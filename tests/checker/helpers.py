"""Specs from text or file, checked, with every trace in the report run again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from hmmspec.checker.check import check
from hmmspec.checker.options import CheckOptions
from hmmspec.checker.verdict import InstanceReport, Progress, Trace, Verdict
from hmmspec.checker.verify import verify
from hmmspec.diagnostics import Source
from hmmspec.lang.load import load, load_source
from hmmspec.system.build import build_all
from hmmspec.system.system import System

SPECS = Path(__file__).resolve().parent / "specs"


def system_of(text: str, instance: str | None = None) -> System:
    """The only instance, or the one named, of a spec given as text (its header is added)."""
    spec = load_source(Source("test.hmm", f"spec test\n{text}"))
    return build_all(spec, [instance] if instance else None)[0]


def systems_in(name: str) -> list[System]:
    """All instances of a file in tests/checker/specs."""
    return build_all(load(str(SPECS / name)))


def checked(system: System, progress: Callable[[Progress], None] | None = None, **options: Any) -> InstanceReport:
    """The report; every trace in it has been run again and shows its property."""
    report = check(system, CheckOptions(**options), progress)
    for verdict, trace in traces(report):
        assert verify(system, trace, verdict.property) == [], (verdict.property, trace)
    return report


def traces(report: InstanceReport) -> Iterator[tuple[Verdict, Trace]]:
    for verdict in report.verdicts:
        for trace in (verdict.trace, verdict.witness, *verdict.others):
            if trace is not None:
                yield verdict, trace


def verdict(report: InstanceReport, name: str) -> Verdict:
    return next(v for v in report.verdicts if v.property == name)


def statuses(report: InstanceReport) -> dict[str, str]:
    return {v.property: v.status.value for v in report.verdicts}
