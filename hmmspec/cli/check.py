"""`hmmspec check SPEC...`: judge every property of every instance."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from hmmspec.checker.options import CheckOptions, RandomRuns
from hmmspec.checker.verdict import InstanceReport, exit_code
from hmmspec.cli.about import version
from hmmspec.cli.args import (
    Parser,
    add_checkpoint_options,
    add_engine_options,
    add_instance_options,
    add_limit_options,
    check_store,
    count,
    mistake,
    params,
    shown,
)
from hmmspec.cli.checkpoints import checkpoints, forget_all, refuse_to_overwrite
from hmmspec.cli.engines import Engine, engine
from hmmspec.cli.files import check_writable, write_whole
from hmmspec.cli.limits import default_memory
from hmmspec.cli.specs import Loaded, load_all
from hmmspec.cli.traces import save_itf, save_traces
from hmmspec.diagnostics import Diagnostic, Limit, SpecError
from hmmspec.report.jsonout import Run, run_to_json
from hmmspec.report.junit import junit_xml
from hmmspec.report.progress import ProgressLine
from hmmspec.report.sarif import run_to_sarif
from hmmspec.report.style import style_for
from hmmspec.report.text import TextOptions, report_text, summary_line
from hmmspec.system.system import System
from hmmspec.system.types import show_value

EXIT_WRONG, EXIT_INTERRUPTED = 2, 130
_OF_A_SEARCH = ("states", "hash", "spill", "checkpoint", "checkpoint_every")  # options that random runs cannot have
_DEEPEST = 1_000_000
_BOUNDS = "--runs, --depth and --time bound random runs"


def parser() -> Parser:
    """The options of `check`."""
    p = Parser(
        "check",
        "Search every reachable state of each instance and judge every property of the spec.",
        "exit codes: 0 everything is as expected; 1 a property is violated, or something\n"
        "expected did not happen; 2 the input is wrong; 3 incomplete; 130 interrupted",
    )
    p.add_argument("specs", nargs="+", metavar="SPEC", help="a .hmm file")
    add_instance_options(p)
    add_engine_options(p)
    p.add_argument(
        "--max-traces",
        type=count,
        default=1,
        metavar="N",
        help="up to N distinct traces of each violation",
    )
    add_limit_options(p)
    add_checkpoint_options(p)
    add_output_options(p)
    return p


def add_output_options(p: Parser) -> None:
    """What `check` and `resume` show and write."""
    told = p.add_argument_group("what to show")
    told.add_argument(
        "--quiet", action="store_true", help="one line per spec, and in full only what is not as expected"
    )
    told.add_argument("-v", "--verbose", action="store_true", help="the same as --traces --witness --coverage")
    told.add_argument("--traces", action="store_true", help="the traces of expected violations and of warnings, too")
    told.add_argument("--witness", action="store_true", help="a run that gets there, for each 'reachable'")
    told.add_argument("--coverage", action="store_true", help="how often each step fired")
    told.add_argument("--full-states", action="store_true", help="whole states in traces, not only what changed")
    written = p.add_argument_group("what to write")
    written.add_argument("--json", action="store_true", help="one JSON document on standard output (docs/json.md)")
    written.add_argument("--junit", type=Path, metavar="FILE", help="JUnit XML, for CI")
    written.add_argument("--sarif", type=Path, metavar="FILE", help="SARIF 2.1.0, for code review tools")
    written.add_argument("--itf", type=Path, metavar="DIR", help="each trace in the format of Apalache and Quint")
    written.add_argument("--save-traces", type=Path, metavar="DIR", help="each trace, for 'replay' and 'walk'")


@dataclass(frozen=True)
class Work:
    """What is to be checked, by which engine, how.  overrides: what `-p` set."""

    specs: Sequence[Loaded]
    chosen: Engine
    options: CheckOptions
    overrides: dict[str, str]


@dataclass
class _Outcome:
    """What has been found so far: it is shown even if the user has had enough."""

    reports: list[tuple[Loaded, InstanceReport]]
    interrupted: bool = False

    def of(self, loaded: Loaded) -> list[InstanceReport]:
        return [report for owner, report in self.reports if owner is loaded]

    @property
    def all(self) -> tuple[InstanceReport, ...]:
        return tuple(report for _, report in self.reports)

    @property
    def exit_code(self) -> int:
        code = exit_code(self.all)
        return code if code == 1 or not self.interrupted else EXIT_INTERRUPTED


def run(args: argparse.Namespace) -> int:
    """Check, print, write.  Raises SpecError when the input is wrong."""
    return carry_out(args, args.seed, partial(_work, args))


def _work(args: argparse.Namespace) -> Work:
    chosen = engine(args.engine, simulates=args.simulate)
    _random_runs(args)
    check_store(args)
    overrides = params(args.params)
    plan = checkpoints(args, overrides)
    for path in (args.keep_c, args.spill, args.checkpoint):
        if path is not None:
            check_writable(path)
    specs = load_all(args.specs, args.instances, overrides)
    if plan is not None:
        refuse_to_overwrite(plan, [system for loaded in specs for system in loaded.systems])
    return Work(specs, chosen, replace(_options(args), checkpoints=plan), overrides)


def carry_out(args: argparse.Namespace, seed: int | None, prepared: Callable[[], Work]) -> int:
    """Prepare, check, print, write as `add_output_options` says; the exit code.  Raises SpecError when the input is
    wrong."""
    try:
        for path in (args.junit, args.sarif, args.itf, args.save_traces):
            if path is not None:
                check_writable(path)
        work = prepared()
        outcome = _search(work, args)
    except SpecError as error:
        _write_reports(args, Run((), error.diagnostics, EXIT_WRONG, seed, version()))
        raise
    seed = work.options.seed
    wrong = _write_all(args, outcome, work.overrides, seed)
    code = EXIT_WRONG if wrong else outcome.exit_code
    if args.json:
        print(run_to_json(Run(outcome.all, tuple(wrong), code, seed, version())), end="")
    else:
        _print_summary(work.specs, outcome)
    for diagnostic in wrong:
        print(shown(diagnostic), file=sys.stderr)
    if work.options.checkpoints is not None and not wrong:
        sys.stdout.flush()
        forget_all(work.options.checkpoints, outcome.all)
    return code


def _search(work: Work, args: argparse.Namespace) -> _Outcome:
    options = work.options
    progress = None if args.quiet else ProgressLine(sys.stderr)
    show = None if args.json else _printer(args)
    outcome = _Outcome([])
    try:
        for loaded in work.specs:
            for system in loaded.systems:
                report = _judged(work.chosen, system, options, progress)
                if args.no_prove:
                    report = replace(report, unproved=())
                if progress is not None:
                    progress.clear()
                if system is loaded.systems[0]:
                    report = replace(report, warnings=(*loaded.warnings, *report.warnings))
                outcome.reports.append((loaded, report))
                if show is not None:
                    show(report)
                if report.interrupted:
                    raise KeyboardInterrupt
    except KeyboardInterrupt:
        outcome.interrupted = True
        if progress is not None:
            progress.clear()
        print("interrupted", file=sys.stderr)
    return outcome


def _judged(chosen: Engine, system: System, options: CheckOptions, progress: ProgressLine | None) -> InstanceReport:
    """The engine's report; where the instance is too large to begin with, one that shows nothing and says so."""
    try:
        return chosen(system, options, progress)
    except (Limit, MemoryError) as error:
        return InstanceReport(
            spec=system.name,
            path=system.path,
            instance=system.instance,
            params=tuple((name, show_value(t, value)) for name, value, t in system.params),
            engine=options.engine,
            seed=options.seed,
            verdicts=(),
            states=0,
            orbits=None,
            reduction="",
            transitions=0,
            depth=0,
            explore_seconds=0.0,
            wall_seconds=0.0,
            limit=str(error) or "out of memory",
        )


def _options(args: argparse.Namespace) -> CheckOptions:
    return CheckOptions(
        engine=args.engine,
        symmetry=not args.no_symmetry,
        threads=args.threads,
        states=args.states,
        seconds=args.time,
        memory=args.memory or default_memory(),
        seed=args.seed,
        max_traces=args.max_traces,
        keep_c=args.keep_c,
        hash_bits=args.hash,
        spill=args.spill,
        simulate=_random_runs(args),
        expectations=not args.params,
    )


def _random_runs(args: argparse.Namespace) -> RandomRuns | None:
    """What `--simulate` asks for, if it is there.  Raises SpecError for options that have no meaning then."""
    if not args.simulate:
        for option in ("runs", "depth"):
            if getattr(args, option) is not None:
                raise mistake("HMM089", f"--{option} is about random runs", "add --simulate")
        return None
    for option in _OF_A_SEARCH:
        if getattr(args, option, None):
            name = option.replace("_", "-")
            raise mistake("HMM089", f"--simulate keeps no states: --{name} has no meaning with it", _BOUNDS)
    if args.depth is not None and args.depth > _DEEPEST:
        raise mistake("HMM089", f"a random run has at most {_DEEPEST} steps, not {args.depth}", _BOUNDS)
    runs = args.runs
    if runs is None and args.time is None:
        runs = RandomRuns().runs
    return RandomRuns(runs, RandomRuns().depth if args.depth is None else args.depth)


def _printer(args: argparse.Namespace) -> Callable[[InstanceReport], None]:
    options = TextOptions(
        traces=args.traces or args.verbose,
        witness=args.witness or args.verbose,
        coverage=args.coverage or args.verbose,
        full_states=args.full_states,
    )
    style = style_for(sys.stdout)

    def show(report: InstanceReport) -> None:
        if not args.quiet or report.exit_code:
            print(report_text(report, style, options), flush=True)

    return show


def _print_summary(specs: Sequence[Loaded], outcome: _Outcome) -> None:
    style = style_for(sys.stdout)
    for loaded in specs:
        reports = outcome.of(loaded)
        print(summary_line(loaded.path, reports, len(loaded.systems), style))


def _write_all(args: argparse.Namespace, outcome: _Outcome, overrides: dict[str, str], seed: int) -> list[Diagnostic]:
    """Write what was asked for.  A file that cannot be written does not lose what was found: it is told at the end."""
    wrong: list[Diagnostic] = []
    jobs: list[Callable[[], object]] = []
    if args.save_traces is not None:
        jobs += [partial(save_traces, args.save_traces, r, o.digest, overrides) for o, r in outcome.reports]
    if args.itf is not None:
        jobs += [partial(save_itf, args.itf, r) for r in outcome.all]
    run_data = Run(outcome.all, (), outcome.exit_code, seed, version())
    jobs.append(partial(_write_reports, args, run_data))
    for job in jobs:
        try:
            job()
        except SpecError as error:
            wrong += error.diagnostics
    return wrong


def _write_reports(args: argparse.Namespace, run_data: Run) -> None:
    if args.junit is not None:
        write_whole(args.junit, junit_xml(run_data.reports, run_data.diagnostics))
    if args.sarif is not None:
        write_whole(args.sarif, run_to_sarif(run_data))
