"""The native engine: generate, compile, search, judge; where it cannot run the Python engine does, and says why."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from hmmspec.checker.check import check, finished
from hmmspec.checker.native.compile import CannotCompile, TooSlow, build, compiler
from hmmspec.checker.native.extras import judges, missing
from hmmspec.checker.native.library import Library
from hmmspec.checker.native.orbits import reduced_types
from hmmspec.checker.native.search import Beyond, Search, questions
from hmmspec.checker.native.unit import Compiled, generate
from hmmspec.checker.options import CheckOptions
from hmmspec.checker.verdict import InstanceReport, Progress
from hmmspec.diagnostics import Limit
from hmmspec.system.system import System

TINY = 5000  # states up to which `auto` stays with the Python engine: a compiler takes longer


@dataclass(frozen=True)
class _Unable(Exception):
    """The native engine cannot do this; `why` in words."""

    why: str
    late: bool = False  # there was no time left to compile it


def check_native(
    system: System, options: CheckOptions | None = None, progress: Callable[[Progress], None] | None = None
) -> InstanceReport:
    """As `check`, by the native engine; by the Python engine where there is no compiler or the spec is beyond it."""
    options = options or CheckOptions()
    begin = time.monotonic()
    try:
        report = _native(system, options, progress)
    except _Unable as unable:
        rest = options if options.seconds is None else replace(options, seconds=_left(options, begin))
        report = check(system, replace(rest, engine="python"), progress)
        report = _of_all(replace(report, remark=_instead(unable.why)), options)
    return replace(report, wall_seconds=time.monotonic() - begin)


def check_auto(
    system: System, options: CheckOptions | None = None, progress: Callable[[Progress], None] | None = None
) -> InstanceReport:
    """As `check`: by the Python engine where the instance is small, else by the native one, where that can do it.

    Which one runs depends on the spec and on whether there is a compiler, never on the time that something takes.
    """
    options = options or CheckOptions()
    begin = time.monotonic()
    python = replace(options, engine="python")
    if missing(system, options) or (options.states is not None and options.states <= TINY):
        return check(system, python, progress)
    try:
        compiler()
    except CannotCompile as none:
        report = check(system, python, progress)
        large = (report.orbits or report.states or 0) > TINY
        return replace(report, remark=_instead(str(none)) if large else "")
    report = check(system, replace(python, states=TINY), progress)
    if report.limit != f"limit of {TINY} states" or report.interrupted:
        return report
    rest = options if options.seconds is None else replace(options, seconds=_left(options, begin))
    try:
        report = _of_all(_native(system, rest, progress), options)
    except _Unable as unable:
        if unable.late:
            report = _of_all(replace(report, limit="time limit of what was left"), options)
        else:
            report = _of_all(check(system, replace(rest, engine="python"), progress), options)
            report = replace(report, remark=_instead(unable.why))
    except KeyboardInterrupt:  # while it was compiled
        report = replace(report, limit="", interrupted=True)
    return replace(report, wall_seconds=time.monotonic() - begin)


def _instead(why: str) -> str:
    return f"the native engine did not run: {why}"


def _of_all(report: InstanceReport, options: CheckOptions) -> InstanceReport:
    """A limit of the time that was left is the limit of the whole."""
    if options.seconds is None or not report.limit.startswith("time limit"):
        return report
    return replace(report, limit=f"time limit of {options.seconds:g}s")


def c_text(system: System, options: CheckOptions) -> Compiled:
    """The C text of a system for these options.  Raises Limit."""
    return generate(system, questions(system), [t.name for t in reduced_types(system, options)])


def _native(system: System, options: CheckOptions, progress: Callable[[Progress], None] | None) -> InstanceReport:
    begin = time.monotonic()
    absent = missing(system, options)
    if absent:
        raise _Unable(f"it does not check {' or '.join(absent)} yet")
    try:
        compiled = c_text(system, options)
    except Limit as limit:
        raise _Unable(str(limit)) from None
    if options.keep_c is not None:
        _write(options.keep_c, system, compiled.text)
    try:
        built = build(compiled.text, None if options.seconds is None else _left(options, begin))
    except CannotCompile as failed:
        raise _Unable(str(failed)) from None
    except TooSlow:
        raise _Unable("the time limit was reached while the C compiler ran", late=True) from None
    try:
        library = Library(built.path)
    except (OSError, AttributeError) as failed:
        raise _Unable(f"what was compiled cannot be loaded: {failed}") from None
    finally:
        built.loaded()
    rest = options if options.seconds is None else replace(options, seconds=_left(options, begin))
    try:
        with Search(system, rest, compiled, library, progress) as search:
            report = finished(search.run(judges(system, rest)), options)
    except Beyond as beyond:
        raise _Unable(str(beyond)) from None
    return replace(_of_all(report, options), remark=built.remark)


def _left(options: CheckOptions, begin: float) -> float:
    assert options.seconds is not None
    return max(0.001, options.seconds - (time.monotonic() - begin))


def _write(folder: Path, system: System, text: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{system.name}-{system.instance}.c").write_text(text, encoding="utf-8")
