"""`hmmspec conform`: random programs on a kernel, everything judged, the first finding made small."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import TextIO

from hmmspec.checker.parallel import cores
from hmmspec.cli.args import Parser, count, duration, mistake
from hmmspec.cli.files import check_writable, write_whole
from hmmspec.cli.output import EXIT_INTERRUPTED
from hmmspec.conform.differ import Pair
from hmmspec.conform.follow.follower import Follower
from hmmspec.conform.follow.load import load_for
from hmmspec.conform.follow.log import write_log
from hmmspec.conform.generate import Shape, shape_for
from hmmspec.conform.guided import Guide
from hmmspec.conform.judging import Judge
from hmmspec.conform.known import load_known
from hmmspec.conform.program import Program, from_json
from hmmspec.conform.racing import DataJudge
from hmmspec.conform.scenario.printer import scenario_text
from hmmspec.conform.seeded import SOUND, Caught, Hunt, Results, hunt_all, shipped_scenarios
from hmmspec.conform.seeded_report import document as seeded_document
from hmmspec.conform.seeded_report import page, results_from
from hmmspec.conform.session import Explorer, Found, Plan, Session, Stop
from hmmspec.conform.shipped import shipped
from hmmspec.conform.target import Target
from hmmspec.conform.targets import NoTarget, open_target
from hmmspec.conform.telling import document, dumped, found_document, told
from hmmspec.conform.wire import CommandError
from hmmspec.diagnostics import did_you_mean
from hmmspec.ref.defects import DEFECTS
from hmmspec.ref.profile import named
from hmmspec.report.progress import StatusLine
from hmmspec.report.style import style_for

SHRINKING = 30.0  # seconds spent on making a finding small


def parser() -> Parser:
    """The options of `conform`."""
    p = Parser(
        "conform",
        "Run random programs on a kernel and hold what is seen against the specs of specs/conform, the data that\n"
        "programs wrote, and the kernel's own checks.  The first finding is made as small as it gets.",
        "exit codes: 0 nothing found; 1 something is wrong; 2 the input is wrong; 3 incomplete; 130 interrupted",
    )
    p.add_argument(
        "--target",
        default="ref",
        metavar="NAME[,NAME]",
        help="ref, linux, or package.module:function, with options as in linux@image=DIR (default: ref); "
        "of two each command's results are compared",
    )
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
    how.add_argument("--image", metavar="DIR", help="the image of linux (default: the newest that was built)")
    how.add_argument("--limit", type=duration, metavar="TIME", help="the longest that a program may take (linux)")
    how.add_argument("--replay", type=Path, metavar="FILE", help="run the program of this file instead (see --save)")
    judged = p.add_argument_group("what is looked at")
    judged.add_argument(
        "--spec",
        action="append",
        default=[],
        metavar="FILE",
        help="a spec or binding to follow (default: all shipped; of two targets, only where they differ)",
    )
    judged.add_argument("--no-spec", action="store_true", help="follow no spec")
    judged.add_argument(
        "--checks",
        choices=("steps", "yields", "off"),
        default="steps",
        help="the reference kernel's own checks: after every command (default), at every yield too (slow), or never",
    )
    judged.add_argument(
        "--no-checks", dest="checks", action="store_const", const="off", help="the same as --checks off"
    )
    judged.add_argument("--cover", action="store_true", help="exit code 1 if a transition was never exercised")
    judged.add_argument("--no-guided", action="store_true", help="no search for what was never exercised")
    judged.add_argument(
        "--known",
        type=Path,
        metavar="FILE",
        help="known differences of two targets (default: docs/findings/known.toml)",
    )
    wrong = p.add_argument_group("the reference kernel")
    wrong.add_argument("--defect", action="append", default=[], metavar="NAME", help="switch on a seeded defect")
    wrong.add_argument("--driver", choices=("stepped", "bulk"), default="stepped", help="default: stepped")
    wrong.add_argument("--seeded", action="store_true", help="switch on each defect, and report what catches it")
    wrong.add_argument("--no-scenarios", action="store_true", help="with --seeded: random programs only")
    wrong.add_argument("--jobs", type=count, default=0, metavar="N", help="with --seeded: processes (default: cores)")
    wrong.add_argument("--page", type=Path, metavar="FILE", help="with --seeded: write the report as Markdown")
    wrong.add_argument(
        "--results", type=Path, metavar="FILE", help="with --seeded: keep results there, and go on from what is there"
    )
    out = p.add_argument_group("output")
    out.add_argument("--save", type=Path, metavar="DIR", help="write a finding there: program, log, scenario")
    out.add_argument("--quiet", action="store_true", help="no progress, no coverage")
    out.add_argument("--json", action="store_true", help="one JSON document on standard output")
    return p


def run(args: argparse.Namespace) -> int:
    """Explore, print, write.  Raises SpecError when the input is wrong."""
    if args.save is not None:
        check_writable(args.save)
        if args.save.exists() and not args.save.is_dir():
            raise mistake("HMM087", f"cannot write into '{args.save}': it is no folder")
    for name in args.defect if args.seeded or args.target.split("@")[0] == "ref" else ():
        if name not in DEFECTS:
            raise mistake(
                "HMM088", f"there is no defect '{name}'", did_you_mean(name, DEFECTS) or "see docs/defects.md"
            )
    if args.seeded:
        return _seeded(args)
    program = None if args.replay is None else _program(args.replay)
    quiet = args.quiet or program is not None
    progress = None if quiet else ConformProgress(sys.stderr, args.steps)
    judges, experts = _judges(args)
    with ExitStack() as stack:
        pair = stack.enter_context(closing(pair_of(args, judges, experts))) if "," in args.target else None
        target = pair.targets[0] if pair is not None else stack.enter_context(closing(target_of(args.target, args)))
        sure = target.deterministic if pair is None else pair.deterministic
        plan = Plan(args.steps, args.seed, shapes_of(target, args), args.time, SHRINKING, deterministic=sure)
        if pair is None:
            explorer = Explorer(target, judges, plan, progress)
        else:
            explorer = Explorer(target, judges, plan, progress, pair.run, pair.renew)
            explorer.session.target = pair.name
        session = _session(explorer, program, args)
        if pair is not None and session.found is None and not session.lost:
            session.unneeded = [entry.place for entry in pair.not_needed(explorer.explained)]
        if progress is not None:
            progress.clear()
    code = _code(session, args)
    if args.json:
        print(dumped(document(session, code)), end="")
    else:
        for line in told(session, style_for(sys.stdout), quiet=quiet and not args.cover):
            print(line)
    if session.found is not None and args.save is not None:
        _save(session.found, target, args.save)
    elif session.found is not None and args.replay is None and not args.json:
        print("not written to a file: '--save DIR' writes the program, a scenario and logs", file=sys.stderr)
    return code


def _seeded(args: argparse.Namespace) -> int:
    """The report on seeded defects; exit code 1 if one was missed by everything, 3 if a hunt was ended early."""
    for path in (args.page, args.results):
        if path is not None:
            check_writable(path)
    specs = () if args.no_spec else tuple(args.spec or shipped())
    scenarios = () if args.no_scenarios else shipped_scenarios()
    hunt = Hunt(args.steps, args.seed, args.profile or "latest", specs, scenarios)
    names = args.defect or [*DEFECTS, SOUND]
    found: Results = {(n, checks): Caught(n, checks) for n in names for checks in (True, False)}
    if args.results is not None:
        found |= _results(args.results, hunt)
    progress = None if args.quiet else SeededProgress(sys.stderr, len(found), sum(c.over for c in found.values()))

    def note(c: Caught) -> None:
        found[c.defect, c.checks] = c
        if args.results is not None and (c.over or not c.stage):
            write_whole(args.results, dumped(seeded_document(found, hunt)))
        if progress is not None:
            progress(c)

    whole = True
    try:
        found |= hunt_all(names, hunt, args.jobs or cores(), note, found)
    except KeyboardInterrupt:
        whole = False
    if args.results is not None:
        write_whole(args.results, dumped(seeded_document(found, hunt)))
    text = "\n".join(page(found, hunt)) + "\n"
    if args.page is not None:
        write_whole(args.page, text)
    print(dumped(seeded_document(found, hunt)) if args.json else text, end="")
    if not whole:
        return EXIT_INTERRUPTED
    mine = [found[n, checks] for n in names for checks in (True, False)]
    if any(bool(c.by) == (c.defect == SOUND) and not c.ended for c in mine if c.checks or c.defect == SOUND):
        return 1
    return 3 if any(c.ended for c in mine) else 0


def _results(path: Path, hunt: Hunt) -> Results:
    """What an earlier hunt of this kind left in the file; nothing if there is none yet."""
    if not path.exists():
        return {}
    try:
        return results_from(path.read_text(encoding="utf-8"), hunt)
    except OSError as error:
        raise mistake("HMM080", f"cannot read {path}: {error.strerror}") from None
    except ValueError as error:
        raise mistake("HMM088", f"cannot go on from {path}: {error}", "remove it, or name another file") from None


def target_of(name: str, args: argparse.Namespace) -> Target:
    """The target that the command line names, with its options.  Raises SpecError."""
    options = {
        n: getattr(args, n, None)
        for n in ("profile", "checks", "defect", "driver", "seed", "limit", "one_cpu", "one_long_hold", "image")
    }
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
    if not failures:
        # Nor do stories inject any.
        can = plain.capabilities - {"inject", "fail_alloc"}
        plain, large, racing = (replace(shape, capabilities=can) for shape in (plain, large, racing))
    if args.race:
        if not racing.race:
            raise mistake("HMM088", f"the target '{target.name}' runs no races", "leave out --race")
        return (racing, wild) if failures else (racing,)
    out = [plain]
    if failures and failing.failures:
        out.append(failing)
    if huge and large.huge:
        out.append(large)
    if not args.sequential and racing.race and "," not in args.target:
        out += [racing, wild] if failures else [racing]
    return tuple(out)


def _judges(args: argparse.Namespace) -> tuple[list[Judge], Callable[[], list[Judge]]]:
    """Who judges every run, and who is asked only where two targets differ.

    Of what is the same on two targets the specs are asked only where that is asked for: each target by itself has its
    runs with them.
    """

    def followers() -> list[Judge]:
        return [] if args.no_spec else [Follower(load_for(path)) for path in args.spec or shipped()]

    if "," in args.target and not (args.race or args.spec or args.cover):
        return [DataJudge()], followers
    return [DataJudge(), *followers()], list


def pair_of(args: argparse.Namespace, judges: Sequence[Judge], experts: Callable[[], Sequence[Judge]]) -> Pair:
    """The two targets that the command line names; a reference kernel without a profile gets the other one's.
    Raises SpecError."""
    names = args.target.split(",")
    if len(names) != 2 or not all(names):
        raise mistake("HMM088", f"'{args.target}' names no two targets", "as in --target ref,linux")
    known = load_known(args.known)
    order = sorted((0, 1), key=lambda at: names[at].split("@")[0] == "ref")
    made: dict[int, Target] = {}
    with ExitStack() as stack:
        for at in order:
            mine = argparse.Namespace(**vars(args))
            if at != order[0] and names[at].split("@")[0] == "ref" and args.profile is None:
                mine.profile = named(made[order[0]].profile)
            if names[order[0]].split("@")[0] == "ref" and at == 1:
                # Of two reference kernels the options of the command line are the first one's.
                mine.profile = mine.profile or named(made[0].profile)
                mine.defect = []
            # What the sequential commands of linux are like, too.
            mine.one_cpu = mine.one_long_hold = True
            # What it looks at in its own frames is for its own runs (`ref@checks=steps` looks all the same).
            mine.checks = "off"
            made[at] = target_of(names[at], mine)
            stack.callback(made[at].close)
        stack.pop_all()
    return Pair(made[0], made[1], judges, known, args.seed, experts)


def _session(explorer: Explorer, program: Program | None, args: argparse.Namespace) -> Session:
    plan = explorer.plan
    if program is not None:
        with suppress(Stop):
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
    if session.found is not None or session.lost:
        return 1
    if session.interrupted:
        return EXIT_INTERRUPTED
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


class SeededProgress:
    """A line for each defect that is done, and how many are."""

    def __init__(self, stream: TextIO, total: int, done: int) -> None:
        self._stream, self._total, self._done = stream, total, done

    def __call__(self, c: Caught) -> None:
        if not c.over:
            return
        self._done += 1
        how = f"{c.by} {c.name or c.scenario}".strip() if c.by else f"MISSED {c.ended}".strip()
        if not c.defect:
            how = how if c.by else "nothing found"
        told = f"{c.defect or 'the sound kernel':32} checks {'on ' if c.checks else 'off'} {how:28}"
        count = f"{self._done:3} of {self._total}"
        self._stream.write(f"{count} {told} {c.commands:7,} commands {c.seconds:6.1f} s\n")
        self._stream.flush()


class ConformProgress:
    """How far a session is: one line that changes on a terminal, a line every ten seconds elsewhere."""

    def __init__(self, stream: TextIO, steps: int, file_every: float = 10.0) -> None:
        self._steps = steps
        self._line = StatusLine(stream, 0.3, file_every)
        self._line.hold()

    def __call__(self, session: Session) -> None:
        if not self._line.due():
            return
        if session.again:
            what = f"something is wrong after {session.commands:,} commands"
            self._line.show(f"conform: {what}; looking for it again, and smaller: run {session.again}")
        else:
            rate = session.commands / session.seconds if session.seconds > 0 else 0.0
            self._line.show(f"conform: {session.commands:,} of {self._steps:,} commands, {rate:,.0f} a second")

    def clear(self) -> None:
        """Take the line off the terminal."""
        self._line.clear()
