"""The native engine: generate, compile, search, judge; where it cannot run the Python engine does, and says why."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from hmmspec.checker.check import check, finished
from hmmspec.checker.native.bindings import Library
from hmmspec.checker.native.checkpoint import Saved
from hmmspec.checker.native.extras import judges, missing
from hmmspec.checker.native.orbits import reduced_types
from hmmspec.checker.native.saving import Past, Saver, compare
from hmmspec.checker.native.search import Beyond, Search, questions
from hmmspec.checker.native.spill import remark
from hmmspec.checker.native.unit import Compiled, generate
from hmmspec.checker.options import CheckOptions
from hmmspec.checker.verdict import InstanceReport, Progress
from hmmspec.clib.compile import CannotCompile, TooSlow, build, compiler
from hmmspec.diagnostics import Limit
from hmmspec.system.system import System

_NOTHING = Past()
TINY = 5000  # states up to which `auto` stays with the Python engine: a compiler takes longer


@dataclass(frozen=True)
class Unable(Exception):
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
    except Unable as unable:
        rest = options if options.seconds is None else replace(options, seconds=left(options, begin))
        report = check(system, replace(rest, engine="python"), progress)
        exact = "; it keeps all states in memory, whole" if options.hash_bits or options.spill is not None else ""
        unsaved = "; it writes no checkpoints" if options.checkpoints is not None else ""
        report = of_all(replace(report, remark=instead(unable.why) + exact + unsaved), options)
    return replace(report, wall_seconds=time.monotonic() - begin)


def resume_native(
    system: System, options: CheckOptions, saved: Saved, progress: Callable[[Progress], None] | None = None
) -> InstanceReport:
    """As `check_native`, from a checkpoint on; times are those of the whole.

    Raises Foreign and Unusable for a checkpoint of something else; Limit where the engine cannot run here, or where
    its states do not fit the memory; KeyboardInterrupt before anything new is searched.
    """
    begin = time.monotonic()
    compare(saved, system)
    past = Past(saved.header.seconds, saved.header.explore_seconds)
    try:
        report = _native(system, options, progress, saved, past)
    except Unable as unable:
        raise Limit(instead(unable.why) + ", and no other goes on from a checkpoint") from None
    return replace(report, wall_seconds=past.seconds + time.monotonic() - begin)


def check_auto(
    system: System, options: CheckOptions | None = None, progress: Callable[[Progress], None] | None = None
) -> InstanceReport:
    """As `check`: by the Python engine where the instance is small, else by the native one, where that can do it.

    Which one runs depends on the spec and on whether there is a compiler, never on the time that something takes.
    """
    options = options or CheckOptions()
    begin = time.monotonic()
    python = replace(options, engine="python")
    if options.hash_bits or options.spill is not None or options.checkpoints is not None:
        return check_native(system, options, progress)
    if missing(system, options) or (options.states is not None and options.states <= TINY):
        return check(system, python, progress)
    try:
        compiler()
    except CannotCompile as none:
        report = check(system, python, progress)
        large = (report.orbits or report.states or 0) > TINY
        return replace(report, remark=instead(str(none)) if large else "")
    report = check(system, replace(python, states=TINY), progress)
    if report.limit != f"limit of {TINY} states" or report.interrupted:
        return report
    rest = options if options.seconds is None else replace(options, seconds=left(options, begin))
    try:
        report = of_all(_native(system, rest, progress), options)
    except Unable as unable:
        if unable.late:
            report = of_all(replace(report, limit="time limit of what was left"), options)
        else:
            report = of_all(check(system, replace(rest, engine="python"), progress), options)
            report = replace(report, remark=instead(unable.why))
    except KeyboardInterrupt:  # while it was compiled
        report = replace(report, limit="", interrupted=True)
    return replace(report, wall_seconds=time.monotonic() - begin)


def instead(why: str) -> str:
    return f"the native engine did not run: {why}"


def of_all(report: InstanceReport, options: CheckOptions) -> InstanceReport:
    """A limit of the time that was left is the limit of the whole."""
    if options.seconds is None or not report.limit.startswith("time limit"):
        return report
    return replace(report, limit=f"time limit of {options.seconds:g}s")


def c_text(system: System, options: CheckOptions) -> Compiled:
    """The C text of a system for these options.  Raises Limit."""
    symmetric = [t.name for t in reduced_types(system, options)]
    return generate(system, questions(system), symmetric, options.hash_bits)


def _native(
    system: System,
    options: CheckOptions,
    progress: Callable[[Progress], None] | None,
    saved: Saved | None = None,
    past: Past = _NOTHING,
) -> InstanceReport:
    begin = time.monotonic()
    absent = missing(system, options)
    if absent:
        raise Unable(f"it does not check {' or '.join(absent)} yet")
    try:
        compiled = c_text(system, options)
    except Limit as limit:
        raise Unable(str(limit)) from None
    if options.keep_c is not None:
        write_c(options.keep_c, system, compiled.text)
    library, told = load_library(compiled.text, None if options.seconds is None else left(options, begin))
    rest = options if options.seconds is None else replace(options, seconds=left(options, begin))
    saver = None
    if options.checkpoints is not None:
        saver = Saver(system, options, options.checkpoints, compiled, begin, past)
    try:
        with Search(system, rest, compiled, library, progress, saver, saved) as search:
            report = finished(search.run(judges(system, rest)), options)
    except Beyond as beyond:
        if saver is not None:
            saver.drop()
        raise Unable(str(beyond)) from None
    report = replace(report, explore_seconds=past.explore_seconds + report.explore_seconds)
    if saver is not None and not report.limit and not report.interrupted:
        saver.finish()
    said = (told, remark(options, compiled, report.limit), saver.remark() if saver is not None else "")
    return replace(of_all(report, options), remark="; ".join(x for x in said if x))


def left(options: CheckOptions, begin: float) -> float:
    assert options.seconds is not None
    return max(0.001, options.seconds - (time.monotonic() - begin))


def load_library(text: str, seconds: float | None) -> tuple[Library, str]:
    """C text as a library, and what a reader should know of how it came about.  Raises Unable."""
    try:
        built = build(text, seconds)
    except CannotCompile as failed:
        raise Unable(str(failed)) from None
    except TooSlow:
        raise Unable("the time limit was reached while the C compiler ran", late=True) from None
    try:
        return Library(built.path), built.remark
    except (OSError, AttributeError) as failed:
        raise Unable(f"what was compiled cannot be loaded: {failed}") from None
    finally:
        built.loaded()


def write_c(folder: Path, system: System, text: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{system.name}-{system.instance}.c").write_text(text, encoding="utf-8")
