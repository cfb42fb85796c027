"""All engines on one instance: each judges it by itself, and what they say has to be the same.

Two engines that contradict one another are a defect in hmmspec, whatever the spec says: then there is no report but an
internal error that names the instance, the engines and what each of them says.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import combinations

from hmmspec.checker.check import check
from hmmspec.checker.explicit.engine import told_apart
from hmmspec.checker.native.engine import check_native
from hmmspec.checker.options import CheckOptions
from hmmspec.checker.symbolic.settle import prove_instance
from hmmspec.checker.verdict import InstanceReport, Level, Progress, Status, Verdict
from hmmspec.clib.compile import CannotCompile, compiler
from hmmspec.diagnostics import InternalError, Limit
from hmmspec.system.system import System

Engine = Callable[[System, CheckOptions, Callable[[Progress], None] | None], InstanceReport]
ENGINES: dict[str, Engine] = {"python": check, "native": check_native, "z3": prove_instance}

_COUNTED = ("states", "depth")
_COUNTED_ALIKE = ("states", "orbits", "transitions", "depth")  # by engines that reduce alike
_SETTLED = (Status.HOLDS, Status.VIOLATED)


def check_all(
    system: System, options: CheckOptions, progress: Callable[[Progress], None] | None = None
) -> InstanceReport:
    """The report of the engine that shows most, with a remark on which engines agreed and which did not finish.

    Each engine has the limits of `options` for itself.  Raises InternalError where two engines disagree; Limit where
    none can judge the instance.
    """
    begin = time.monotonic()
    reports: list[InstanceReport] = []
    absent: list[str] = []
    for name in ENGINES:
        try:
            report = _judged(name, system, options, progress)
        except Limit as limit:
            absent.append(f"{name} did not run: {limit}")
            continue
        if report.engine != name:
            absent.append(report.remark or f"{name} did not run")
            continue
        reports.append(report)
        if report.interrupted:
            break
    if not reports:
        raise Limit("; ".join(absent))
    # Where fairness is about identities the native engine does not reduce, and the Python engine keeps track of them.
    alike = not told_apart(system)
    found = [line for a, b in combinations(reports, 2) for line in disagreements(a, b, alike=alike)]
    if found:
        where = f"{system.path}, instance {system.instance}"
        raise InternalError(f"the engines disagree on {where}: " + "; ".join(dict.fromkeys(found)))
    best = min(reports, key=_weakness)
    remark = "; ".join(x for x in (best.remark, _agreed(reports), *absent) if x)
    interrupted = any(r.interrupted for r in reports)
    return replace(best, remark=remark, interrupted=interrupted, wall_seconds=time.monotonic() - begin)


def _judged(
    name: str, system: System, options: CheckOptions, progress: Callable[[Progress], None] | None
) -> InstanceReport:
    if name == "native":
        try:
            compiler()
        except CannotCompile as none:
            raise Limit(str(none)) from None
    return ENGINES[name](system, replace(options, engine=name), progress)


def _agreed(reports: Sequence[InstanceReport]) -> str:
    names = [r.engine for r in reports]
    unfinished = [f"{r.engine} did not finish ({r.limit or 'interrupted'})" for r in reports if not _finished(r)]
    agreed = f"engines that agree: {', '.join(names)}" if len(names) > 1 else f"only {names[0]} ran"
    return "; ".join([agreed, *unfinished])


def _finished(report: InstanceReport) -> bool:
    return not report.limit and not report.interrupted


def _weakness(report: InstanceReport) -> tuple[bool, int, int]:
    """Less is shown, the more: first of all by who did not finish, then by what is not settled."""
    open_ = sum(v.status is Status.UNKNOWN for v in report.verdicts)
    return not _finished(report), open_, list(ENGINES).index(report.engine)


def disagreements(a: InstanceReport, b: InstanceReport, *, alike: bool = True) -> Iterator[str]:
    """What two reports on one instance say differently, as far as both say something.  alike: where they reduce, they
    do so by the same types."""
    whole = all(r.bounded is None and r.hashed is None and _finished(r) for r in (a, b))
    # Which representatives are stored where orbits are too large to compare is up to each engine.
    if whole and "representatives" not in (a.reduction, b.reduction):
        same = a.reduction == b.reduction and (alike or not a.reduction)
        for what in _COUNTED_ALIKE if same else _COUNTED:
            x, y = getattr(a, what), getattr(b, what)
            if x != y:
                yield f"{what}: {x} ({a.engine}), {y} ({b.engine})"
    others = {v.property: v for v in b.verdicts}
    for v in a.verdicts:
        w = others.get(v.property)
        if w is None:
            continue
        told = _contradiction(v, w) or _overlooked(v, a, w) or (_overlooked(w, b, v) or ("", ""))[::-1]
        if not told[0] and whole and v.status is not w.status:
            told = v.status.value, w.status.value
        if told[0]:
            yield f"{v.property}: {told[0]} ({a.engine}), {told[1]} ({b.engine})"


def _contradiction(v: Verdict, w: Verdict) -> tuple[str, str] | None:
    if Level.HASHED in (v.level, w.level):
        return None  # a state may have been missed
    if v.status in _SETTLED and w.status in _SETTLED and v.status is not w.status:
        return v.status.value, w.status.value
    if v.status is w.status is Status.VIOLATED and v.level is w.level is Level.VIOLATED_SHORTEST:
        x, y = _steps(v), _steps(w)
        if x != y:
            return f"a shortest run of {x} steps", f"a shortest run of {y} steps"
    return None


def _overlooked(v: Verdict, of: InstanceReport, w: Verdict) -> tuple[str, str] | None:
    """All runs of so many steps were searched, and another engine has one that shows it."""
    if of.bounded is None or v.level is not Level.BOUNDED or v.status is Status.VIOLATED:
        return None
    found = w.witness if w.kind == "reachable" else w.trace
    if w.status not in _SETTLED or found is None or found.length > of.bounded:
        return None
    return f"in no run of {of.bounded} steps", f"in a run of {found.length} steps"


def _steps(v: Verdict) -> int:
    return 0 if v.trace is None else v.trace.length
