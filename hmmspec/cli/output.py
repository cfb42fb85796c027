"""What `check` and the commands like it show and write: options, the report on each instance, files at the end."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from hmmspec.checker.verdict import InstanceReport, exit_code
from hmmspec.cli.about import version
from hmmspec.cli.args import Parser
from hmmspec.cli.files import check_writable, write_whole
from hmmspec.cli.specs import Loaded
from hmmspec.cli.traces import save_itf, save_traces
from hmmspec.diagnostics import Diagnostic, SpecError
from hmmspec.report.jsonout import Run
from hmmspec.report.junit import junit_xml
from hmmspec.report.sarif import run_to_sarif
from hmmspec.report.style import style_for
from hmmspec.report.text import TextOptions, report_text, summary_line

EXIT_INTERRUPTED = 130


def add_output_options(p: Parser, *, searches: bool = True) -> argparse._ArgumentGroup:
    """`searches`: whether there are states to count and to reach.  Returns the group of what to write."""
    told = p.add_argument_group("what to show")
    told.add_argument(
        "--quiet", action="store_true", help="one line per spec, and in full only what is not as expected"
    )
    if searches:
        same = "the same as --traces --witness --coverage --invariants"
        told.add_argument("-v", "--verbose", action="store_true", help=same)
    told.add_argument("--traces", action="store_true", help="the traces of expected violations and of warnings, too")
    if searches:
        told.add_argument("--witness", action="store_true", help="a run that gets there, for each 'reachable'")
        told.add_argument("--coverage", action="store_true", help="how often each step fired")
        told.add_argument("--invariants", action="store_true", help="the invariants that were found to prove others")
    else:
        p.set_defaults(verbose=False, witness=False, coverage=False, invariants=True)
    told.add_argument("--full-states", action="store_true", help="whole states in traces, not only what changed")
    written = p.add_argument_group("what to write")
    written.add_argument("--json", action="store_true", help="one JSON document on standard output (docs/json.md)")
    written.add_argument("--junit", type=Path, metavar="FILE", help="JUnit XML, for CI")
    written.add_argument("--sarif", type=Path, metavar="FILE", help="SARIF 2.1.0, for code review tools")
    written.add_argument("--itf", type=Path, metavar="DIR", help="each trace in the format of Apalache and Quint")
    written.add_argument("--save-traces", type=Path, metavar="DIR", help="each trace, for 'replay' and 'walk'")
    return written


def check_outputs(args: argparse.Namespace) -> None:
    """Before a long run: whether what is to be written can be.  Raises SpecError."""
    for path in (args.junit, args.sarif, args.itf, args.save_traces):
        if path is not None:
            check_writable(path)


@dataclass
class Outcome:
    """What has been found so far: it is shown even if the user has had enough."""

    reports: list[tuple[Loaded, InstanceReport]] = field(default_factory=list)
    interrupted: bool = False

    def of(self, loaded: Loaded) -> list[InstanceReport]:
        """The reports on one spec."""
        return [report for owner, report in self.reports if owner is loaded]

    @property
    def all(self) -> tuple[InstanceReport, ...]:
        """The reports on all specs."""
        return tuple(report for _, report in self.reports)

    @property
    def exit_code(self) -> int:
        """What the command exits with."""
        code = exit_code(self.all)
        return code if code == 1 or not self.interrupted else EXIT_INTERRUPTED


def printer(args: argparse.Namespace) -> Callable[[InstanceReport], None]:
    """What prints a report as soon as it is there."""
    options = TextOptions(
        traces=args.traces or args.verbose,
        witness=args.witness or args.verbose,
        coverage=args.coverage or args.verbose,
        full_states=args.full_states,
        means=args.invariants or args.verbose,
    )
    style = style_for(sys.stdout)

    def show(report: InstanceReport) -> None:
        if not args.quiet or report.exit_code:
            print(report_text(report, style, options), flush=True)

    return show


def print_summary(specs: Sequence[Loaded], outcome: Outcome, wanted: Callable[[Loaded], int]) -> None:
    """The last lines, one for each spec; `wanted`: how many reports it has if nobody interrupts."""
    style = style_for(sys.stdout)
    for loaded in specs:
        reports = outcome.of(loaded)
        print(summary_line(loaded.path, reports, wanted(loaded), style))


def write_all(args: argparse.Namespace, outcome: Outcome, overrides: dict[str, str], seed: int) -> list[Diagnostic]:
    """Write what was asked for.  A file that cannot be written does not lose what was found: it is told at the end."""
    wrong: list[Diagnostic] = []
    jobs: list[Callable[[], object]] = []
    if args.save_traces is not None:
        jobs += [partial(save_traces, args.save_traces, r, o.digest, overrides) for o, r in outcome.reports]
    if args.itf is not None:
        jobs += [partial(save_itf, args.itf, r) for r in outcome.all]
    run_data = Run(outcome.all, (), outcome.exit_code, seed, version())
    jobs.append(partial(write_reports, args, run_data))
    for job in jobs:
        try:
            job()
        except SpecError as error:
            wrong += error.diagnostics
    return wrong


def write_reports(args: argparse.Namespace, run_data: Run) -> None:
    """JUnit and SARIF, where they are asked for.  Raises SpecError if one cannot be written."""
    if args.junit is not None:
        write_whole(args.junit, junit_xml(run_data.reports, run_data.diagnostics))
    if args.sarif is not None:
        write_whole(args.sarif, run_to_sarif(run_data))
