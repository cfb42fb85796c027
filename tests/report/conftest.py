"""Hand-made reports: what a reporter is given, without any engine."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hmmspec.checker.verdict import (
    Blame,
    Change,
    Coverage,
    InstanceReport,
    Level,
    Status,
    Trace,
    TraceStep,
    Verdict,
)
from hmmspec.diagnostics import Diagnostic, Severity, Source, Span

TEXT = """spec device_private
invariant pinned_stay: forall p: Page { pins[p] > 0 => place[p] == system };
transition pin(p: Page) when true { pins[p] += 1; }
"""
SOURCE = Source("specs/device_private.hmm", TEXT)


def span_of(text: str) -> Span:
    start = TEXT.index(text)
    return Span(SOURCE, start, start + len(text))


def _run(*steps: tuple[str, str | None, tuple[tuple[str, str], ...], dict[str, str]]) -> tuple[dict[str, str], ...]:
    """Whole states from what each step sets."""
    states = [
        {
            "pins[page0]": "0",
            "pins[page1]": "0",
            "place[page0]": "system",
            "place[page1]": "unmapped",
            "fault[cpu0]": "take",
            "fault[cpu0].p": "null",
            "pte[mm0][page0].write": "false",
            "ptl": "free",
        }
    ]
    for _, _, _, new in steps:
        states.append({**states[-1], **new})
    return tuple(states)


def make_trace(loop: int | None = None) -> Trace:
    raw = (
        ("pin", None, (("p", "page0"),), {"pins[page0]": "1"}),
        (
            "fault.take",
            "fault[cpu0]",
            (("c", "cpu0"), ("p", "page0")),
            {"fault[cpu0]": "check", "fault[cpu0].p": "page0"},
        ),
        ("swap_out", None, (("p", "page0"),), {"place[page0]": "swapped"}),
    )
    states = _run(*raw)
    steps = tuple(
        TraceStep(
            rule,
            actor,
            args,
            tuple(Change(cell, before[cell], value) for cell, value in new.items()),
            after,
            span_of("pin(p: Page)") if rule == "pin" else None,
        )
        for (rule, actor, args, new), before, after in zip(raw, states[:-1], states[1:], strict=True)
    )
    blame = Blame(
        "pins[p] > 0 => place[p] == system",
        (("p", "page0"),),
        (("pins[p] > 0", "true"), ("place[p]", "swapped")),
        span_of("pins[p] > 0 => place[p] == system"),
    )
    return Trace(states[0], steps, loop, None, None if loop is not None else blame)


@pytest.fixture
def trace() -> Trace:
    return make_trace()


@pytest.fixture
def failing() -> Trace:
    """A run whose last step ends in an error and adds no state."""
    whole = make_trace()
    return replace(
        whole,
        steps=whole.steps[:2],
        final=replace(whole.steps[2], changes=()),
        blame=None,
        message="pins[p] left 0..1: 2",
    )


def invariant(status: Status, level: Level, trace: Trace | None = None, **more: object) -> Verdict:
    verdict = Verdict(
        "pinned_stay",
        "invariant",
        "pinned pages never migrate",
        status,
        level,
        trace,
        expected=status is not Status.VIOLATED,
        span=span_of("pinned_stay"),
    )
    return replace(verdict, **more)  # type: ignore[arg-type]


@pytest.fixture
def good() -> InstanceReport:
    return InstanceReport(
        spec="device_private",
        path="specs/device_private.hmm",
        instance="tiny",
        params=(("PAGES", "2"), ("FRAMES", "1")),
        engine="python",
        seed=0,
        verdicts=(
            invariant(Status.HOLDS, Level.EXHAUSTIVE),
            Verdict("fits", "invariant", "", Status.HOLDS, Level.EXHAUSTIVE),
            Verdict(
                "both_used", "reachable", "the device can fill up", Status.HOLDS, Level.EXHAUSTIVE, witness=make_trace()
            ),
            Verdict("deadlock", "built-in", "", Status.HOLDS, Level.EXHAUSTIVE),
            Verdict("spec_error", "built-in", "", Status.HOLDS, Level.EXHAUSTIVE),
        ),
        states=133,
        orbits=None,
        reduction="",
        transitions=412,
        depth=14,
        explore_seconds=0.0312,
        wall_seconds=0.04,
        coverage=(Coverage("pin", 100), Coverage("swap_out", 312)),
    )


@pytest.fixture
def bad(good: InstanceReport, trace: Trace) -> InstanceReport:
    violated = invariant(Status.VIOLATED, Level.VIOLATED_SHORTEST, trace)
    return replace(good, verdicts=(violated, *good.verdicts[1:]))


@pytest.fixture
def expected_bad(bad: InstanceReport) -> InstanceReport:
    return replace(bad, verdicts=(replace(bad.verdicts[0], expected=True), *bad.verdicts[1:]))


@pytest.fixture
def cut_off(good: InstanceReport) -> InstanceReport:
    verdicts = (
        invariant(Status.UNKNOWN, Level.INCOMPLETE),
        Verdict("both_used", "reachable", "", Status.UNKNOWN, Level.INCOMPLETE),
    )
    return replace(good, verdicts=verdicts, states=1000, limit="limit of 1000 states")


@pytest.fixture
def diagnostic() -> Diagnostic:
    return Diagnostic("HMM001", "unexpected word 'tru'", span_of("true"), Severity.ERROR, (), "did you mean 'true'?")
