"""Do the two engines show the same of a generated spec?"""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass, replace
from functools import cache
from itertools import count
from pathlib import Path

from hmmspec.checker.check import check
from hmmspec.checker.explicit.engine import told_apart
from hmmspec.checker.native.engine import check_native
from hmmspec.checker.options import CheckOptions
from hmmspec.checker.verdict import InstanceReport, Level, Verdict
from hmmspec.checker.verify import verify
from hmmspec.diagnostics import InternalError, SpecError
from hmmspec.lang import syntax as S
from hmmspec.lang.load import load
from hmmspec.system.build import build_all
from hmmspec.system.system import System
from tests.checker.helpers import traces
from tests.native.genshapes import wanted
from tests.native.specgen import Bundle, bundle

MOST_STATES = 3000  # of one instance, full states
LEAST_STATES = 30  # of the largest instance, unless smaller ones come again and again
TRIES = 6  # attempts that are passed over for being small
# In a short run every other spec is compared in one way only, on orbits where it has any: compiling takes long.
BOTH_WAYS = int(os.environ.get("HMMSPEC_AGREEMENT", "0")) >= 1000
FULL = CheckOptions(symmetry=False)
REDUCED = CheckOptions(symmetry=True)


@dataclass(frozen=True)
class Case:
    """A generated spec that means something and is small: its instances and what the Python engine shows of each."""

    seed: int
    attempt: int
    files: Bundle
    spec: S.Spec
    systems: tuple[System, ...]
    shown: tuple[InstanceReport, ...]  # of full states

    @property
    def name(self) -> str:
        return f"seed {self.seed}, attempt {self.attempt}"


def built(files: Bundle) -> tuple[S.Spec, tuple[System, ...]]:
    """Raises SpecError."""
    with tempfile.TemporaryDirectory() as folder:
        for name, text in files.files.items():
            (Path(folder) / name).write_text(text, encoding="utf-8")
        spec = load(str(Path(folder) / files.main))
    return spec, tuple(build_all(spec))


@cache
def case(seed: int) -> Case:
    """The first attempt of a seed that is a spec, small enough, and not tiny."""
    for attempt in count():
        files = bundle(seed, attempt)
        try:
            spec, systems = built(files)
        except SpecError:
            continue
        shown: list[InstanceReport] = []
        for system in systems:
            shown.append(check(system, replace(FULL, states=MOST_STATES)))
            if shown[-1].limit:
                break
        else:
            largest = max(r.states or 0 for r in shown)
            if largest < LEAST_STATES and attempt < TRIES and "unknown" not in wanted(seed):
                continue
            return Case(seed, attempt, files, spec, systems, tuple(shown))
    raise AssertionError


# What a verdict says besides depends on which of several shortest traces it has.
DIFFERENTLY_SAID = ("lock_cycle", "refines")


def of_verdict(v: Verdict, counted: bool) -> dict[str, object]:
    """What the engines must agree on.  A lasso may differ in length: it is not known to be shortest."""
    out: dict[str, object] = {"kind": v.kind, "status": v.status, "level": v.level, "expected": v.expected}
    if counted and v.property not in DIFFERENTLY_SAID:
        out["remark"] = sorted(v.remark.split("; "))
    if v.trace is not None and v.level is Level.VIOLATED_SHORTEST:
        out["length"] = v.trace.length
    if v.witness is not None:
        out["witness"] = v.witness.length
    return out


def of_report(r: InstanceReport, counted: bool = True) -> dict[str, object]:
    """counted: whether as many states are stored as by the other engine; full states and depths are the same anyway."""
    out: dict[str, object] = {
        "states": r.states,
        "depth": r.depth,
        "limit": r.limit,
        "problems": r.problems,
        "warnings": tuple(sorted(w.message for w in r.warnings)),
    }
    if counted:
        out |= {
            "reduction": r.reduction,
            "orbits": r.orbits,
            "transitions": r.transitions,
            "fired": tuple((c.rule, c.fired) for c in r.coverage),
        }
    return out | {v.property: of_verdict(v, counted) for v in r.verdicts}


def differences(one: InstanceReport, other: InstanceReport, counted: bool = True) -> list[str]:
    """Where two reports on one instance differ, as `what: this / that`."""
    a, b = of_report(one, counted), of_report(other, counted)
    return [f"{k}: {a.get(k)} / {b.get(k)}" for k in [*a, *(k for k in b if k not in a)] if a.get(k) != b.get(k)]


@dataclass(frozen=True)
class Disagreement:
    """What a failing test prints: the spec, and where the engines differ."""

    case: Case
    instance: str
    symmetry: bool
    found: tuple[str, ...]

    def __str__(self) -> str:
        text = "\n".join(f"// {name}\n{text}" for name, text in self.case.files.files.items())
        how = "with" if self.symmetry else "without"
        return f"{self.case.name}, instance {self.instance}, {how} symmetry (python / native):\n" + "\n".join(
            [*self.found, text]
        )


def disagreements(c: Case, threads: int = 1, ran: list[str] | None = None) -> list[Disagreement]:
    """Both engines on each instance, on full states and on orbits (but see BOTH_WAYS).  ran: gets the remark of each native run."""
    out: list[Disagreement] = []
    for system, full in zip(c.systems, c.shown, strict=True):
        ways = [False, True] if any(t.size > 1 for t in system.symmetric) else [False]
        if not BOTH_WAYS and c.seed % 2:
            ways = ways[-1:]
        for symmetry in ways:
            options = REDUCED if symmetry else FULL
            python = check(system, options) if symmetry else full
            try:
                # An engine with a defect may see states without end.
                native = check_native(system, replace(options, threads=threads, states=10 * MOST_STATES))
            except InternalError as e:
                # What the engine claims is looked at by the interpreter: here it saw something else.
                out.append(Disagreement(c, system.instance, symmetry, (f"nothing / {e}",)))
                continue
            if ran is not None:
                ran.append(native.remark)
            # The native engine does not reduce by types that a `leads_to` tells apart; and which representatives are
            # stored where ties are too many to try is each engine's own affair.
            counted = not symmetry or (not told_apart(system) and python.reduction == native.reduction == "orbits")
            found = differences(python, native, counted)
            for verdict, trace in traces(native):
                found += [f"{verdict.property}, trace: {x}" for x in verify(system, trace, verdict.property)]
            if found:
                out.append(Disagreement(c, system.instance, symmetry, tuple(found)))
    return out
