"""`hmmspec conform`: random programs on a kernel, everything judged, the first finding made small."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from hmmspec.checker.parallel import cores
from hmmspec.cli.args import Parser, count, duration, mistake
from hmmspec.cli.files import check_writable, write_whole
from hmmspec.conform.follow.follower import Follower
from hmmspec.conform.follow.load import load_for
from hmmspec.conform.follow.log import write_log
from hmmspec.conform.generate import Shape, shape_for
from hmmspec.conform.guided import Guide
from hmmspec.conform.judging import Judge
from hmmspec.conform.program import Program, from_json
from hmmspec.conform.racing import DataJudge
from hmmspec.conform.scenario.printer import scenario_text
from hmmspec.conform.seeded import Caught, Hunt, hunt_all, page, shipped_scenarios
from hmmspec.conform.seeded import document as seeded_document
from hmmspec.conform.session import Explorer, Found, Plan, Session
from hmmspec.conform.shipped import shipped
from hmmspec.conform.target import Target
from hmmspec.conform.targets import NoTarget, open_target
from hmmspec.conform.telling import document, dumped, found_document, told
from hmmspec.conform.wire import CommandError
from hmmspec.diagnostics import did_you_mean
from hmmspec.ref.defects import DEFECTS
from hmmspec.report.style import style_for

SHRINKING = 30.0  # seconds spent on making a finding small


def parser() -> Parser:
    """The options of `conform`."""
    p = Parser(
        "conform",
        "Run random programs on a kernel and hold what is seen against the specs of specs/conform, the data that\n"
        "programs wrote, and the kernel's own checks.  The first finding is made as small as it gets.",
        "exit codes: 0 nothing found; 1 something is wrong; 2 the input is wrong; 3 incomplete",
    )
    p.add_argument("--target", default="ref", metavar="NAME", help="ref, or package.module:function (default: ref)")
    p.add_argument("--profile", metavar="NAME", help="which kernel the reference is: 6.12 or latest")
    p.add_argument("--steps", type=count, default=10_000, metavar="N", help="commands to carry out (default: 10000)")
    p.add_argument("--seed", type=int, default=0, metavar="N", help="seed of all that is random (default: 0)")
    p.add_argument("--time", type=duration, metavar="TIME", help="stop after 90s, 10m, 1h (then: incomplete)")
    how = p.add_argument_group("what programs do")
    kind = how.add_mutually_exclusive_group()
    kind.add_argument("--race", action="store_true", help="only programs in which threads race")
    kind.add_argument("--sequential", action="store_true", help="no races")
    how.add_argument("--no-failures", action="store_true", help="inject no failures")
    how.add_argument("--no-huge", action="store_true", help="no 2 MiB pages")
    how.add_argument("--length", type=count, default=40, metavar="N", help="the most steps of a program (default: 40)")
    how.add_argument("--replay", type=Path, metavar="FILE", help="run the program of this file instead (see --save)")
    judged = p.add_argument_group("what is looked at")
    judged.add_argument(
        "--spec", action="append", default=[], metavar="FILE", help="a spec or binding to follow (default: all shipped)"
    )
    judged.add_argument("--no-spec", action="store_true", help="follow no spec")
    judged.add_argument(
        "--checks", action=argparse.BooleanOptionalAction, default=True, help="the kernel's own debug checks"
    )
    judged.add_argument("--cover", action="store_true", help="exit code 1 if a transition was never exercised")
    judged.add_argument("--no-guided", action="store_true", help="no search for what was never exercised")
    wrong = p.add_argument_group("the reference kernel")
    wrong.add_argument("--defect", action="append", default=[], metavar="NAME", help="switch on a seeded defect")
    wrong.add_argument("--driver", choices=("stepped", "bulk"), default="stepped", help="default: stepped")
    wrong.add_argument("--seeded", action="store_true", help="switch on each defect, and report what catches it")
    wrong.add_argument("--no-scenarios", action="store_true", help="with --seeded: random programs only")
    wrong.add_argument("--jobs", type=count, default=0, metavar="N", help="with --seeded: processes (default: cores)")
    wrong.add_argument("--page", type=Path, metavar="FILE", help="with --seeded: write the report as Markdown")
    out = p.add_argument_group("output")
    out.add_argument("--save", type=Path, metavar="DIR", help="write a finding there: program, log, scenario")
    out.add_argument("--quiet", action="store_true", help="no progress, no coverage")
    out.add_argument("--json", action="store_true", help="one JSON document on standard output")
    return p


def run(args: argparse.Namespace) -> int:
    """Explore, print, write.  Raises SpecError when the input is wrong."""
    if args.save is not None:
        check_writable(args.save)
    if args.seeded:
        return _seeded(args)
    program = None if args.replay is None else _program(args.replay)
    target = target_of(args.target, args)
    try:
        judges: list[Judge] = [DataJudge(target.atomic)]
        if not args.no_spec:
            judges += [Follower(load_for(path)) for path in args.spec or shipped()]
        plan = Plan(args.steps, args.seed, shapes_of(target, args), args.time, SHRINKING)
        progress = None if args.quiet else ConformProgress(sys.stderr, args.steps)
        session = _session(target, judges, plan, program, args, progress)
        if progress is not None:
            progress.clear()
    finally:
        target.close()
    code = _code(session, args)
    if args.json:
        print(dumped(document(session, code)), end="")
    else:
        for line in told(session, style_for(sys.stdout), quiet=args.quiet):
            print(line)
    if session.found is not None and args.save is not None:
        _save(session.found, target, args.save)
    return code


def _seeded(args: argparse.Namespace) -> int:
    """The report on seeded defects; exit code 1 if one was missed by everything."""
    if args.page is not None:
        check_writable(args.page)
    for name in args.defect:
        if name not in DEFECTS:
            raise mistake("HMM088", f"there is no defect '{name}'", did_you_mean(name, DEFECTS))
    specs = () if args.no_spec else tuple(args.spec or shipped())
    hunt = Hunt(
        args.steps, args.seed, args.profile or "latest", specs, () if args.no_scenarios else shipped_scenarios()
    )

    def told_one(c: Caught) -> None:
        if not args.quiet:
            how = f"{c.by} {c.name or c.scenario}".strip() if c.by else "MISSED"
            with_ = "on " if c.checks else "off"
            print(f"{c.defect:32} checks {with_} {how:28} {c.commands:7,} commands {c.seconds:6.1f} s", file=sys.stderr)

    found = hunt_all(args.defect or list(DEFECTS), hunt, args.jobs or cores(), told_one)
    text = "\n".join(page(found, hunt)) + "\n"
    if args.page is not None:
        write_whole(args.page, text)
    print(dumped(seeded_document(found, hunt)) if args.json else text, end="")
    return 0 if all(found[n, True].by for n, _ in found) else 1


def target_of(name: str, args: argparse.Namespace) -> Target:
    """The target that the command line names, with its options.  Raises SpecError."""
    options = {n: getattr(args, n, None) for n in ("profile", "checks", "defect", "driver", "seed")}
    try:
        return open_target(name, options)
    except NoTarget as error:
        raise mistake("HMM088", str(error)) from None


def shapes_of(target: Target, args: argparse.Namespace) -> tuple[Shape, ...]:
    """The shapes of programs, taken in turn: plain ones, judged exactly; with failures; huge ones; races."""
    failures, huge = not args.no_failures, not args.no_huge
    plain = shape_for(target, steps=args.length)
    failing = shape_for(target, failures=True, steps=args.length)
    large = shape_for(target, huge=True, failures=failures, steps=min(args.length, 25))
    racing = shape_for(target, race=True, failures=False, steps=min(args.length, 25))
    wild = shape_for(target, race=True, failures=failures, steps=min(args.length, 25))
    if args.race:
        if not racing.race:
            raise mistake("HMM088", f"the target '{target.name}' runs no races", "leave out --race")
        return (racing, wild) if failures else (racing,)
    out = [plain]
    if failures and failing.failures:
        out.append(failing)
    if huge and large.huge:
        out.append(large)
    if not args.sequential and racing.race:
        out += [racing, wild] if failures else [racing]
    return tuple(out)


def _session(
    target: Target,
    judges: Sequence[Judge],
    plan: Plan,
    program: Program | None,
    args: argparse.Namespace,
    progress: ConformProgress | None,
) -> Session:
    explorer = Explorer(target, judges, plan, progress)
    if program is not None:
        explorer.run(program)
        return explorer.finish()
    if args.no_guided:
        return explorer.explore()
    # What random programs have not exercised by three quarters of the steps is looked for.
    explorer.search(plan.steps * 3 // 4)
    if not explorer.failed:
        Guide(explorer, plan.seed).search(plan.steps - explorer.session.commands)
    explorer.search(plan.steps)
    return explorer.finish()


def _code(session: Session, args: argparse.Namespace) -> int:
    if session.found is not None:
        return 1
    if args.cover and any(session.missing.values()):
        return 1
    short = args.replay is None and session.commands < args.steps
    return 3 if short or session.incomplete else 0


# ---------------------------------------------------------------- files


def _program(path: Path) -> Program:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(data, dict):
            data = data.get("program")
        return from_json(data)
    except OSError as error:
        raise mistake("HMM080", f"cannot read {path}: {error.strerror}") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise mistake("HMM088", f"{path} is no JSON: {error}") from None
    except CommandError as error:
        raise mistake("HMM088", f"{path} is no program: {error}", "'conform --save DIR' writes programs") from None


def _save(found: Found, target: Target, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / "finding.json", dumped(found_document(found)))
    write_log(str(folder / "log.jsonl"), target, found.log)
    write_log(str(folder / "first.jsonl"), target, found.first_log)
    comments = tuple(str(f) for f in found.findings[:1])
    text = scenario_text(found.program, "finding", "", devices=target.devices, comments=comments)
    write_whole(folder / "finding.scn", text)
    print(f"written to {folder}: finding.json, finding.scn, log.jsonl, first.jsonl", file=sys.stderr)


# ---------------------------------------------------------------- progress


class ConformProgress:
    """How far a session is: one line that changes on a terminal, a line every ten seconds elsewhere."""

    def __init__(self, stream: TextIO, steps: int) -> None:
        self._stream = stream
        self._steps = steps
        self._every = 0.3 if stream.isatty() else 10.0
        self._last = time.monotonic()
        self._shown = False

    def __call__(self, session: Session) -> None:
        now = time.monotonic()
        if now - self._last < self._every:
            return
        self._last = now
        rate = session.commands / session.seconds if session.seconds > 0 else 0.0
        line = f"conform: {session.commands:,} of {self._steps:,} commands, {rate:,.0f} a second"
        if self._stream.isatty():
            self._stream.write("\r" + line.ljust(78))
            self._shown = True
        else:
            self._stream.write(line + "\n")
        self._stream.flush()

    def clear(self) -> None:
        """Take the line off the terminal."""
        if self._shown:
            self._stream.write("\r" + " " * 78 + "\r")
            self._stream.flush()
            self._shown = False
