"""From what is asked for to reports and an exit code: the way that `check`, `bmc`, `resume` and `prove` share."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace

from hmmspec.checker.options import CheckOptions
from hmmspec.checker.verdict import InstanceReport
from hmmspec.cli.about import version
from hmmspec.cli.args import shown
from hmmspec.cli.checkpoints import forget_all
from hmmspec.cli.engines import Engine
from hmmspec.cli.output import Outcome, check_outputs, print_summary, printer, write_all, write_reports
from hmmspec.cli.specs import Loaded
from hmmspec.diagnostics import Limit, SpecError
from hmmspec.report.jsonout import Run, run_to_json
from hmmspec.report.progress import ProgressLine
from hmmspec.system.system import System
from hmmspec.system.types import show_value

EXIT_WRONG = 2


@dataclass(frozen=True)
class Proofs:
    """What is to be proved when the searches are done: the specs that the proofs are of, one entry for each report,
    and what makes the reports, in this order."""

    of: Sequence[Loaded]
    run: Callable[[ProgressLine | None], Generator[InstanceReport, None, None]]


@dataclass(frozen=True)
class Work:
    """What is to be done: `chosen`, the engine that searches each instance (None: no search); proofs; overrides: what
    `-p` set; unproved: whether reports tell which prove lines are not looked at."""

    specs: Sequence[Loaded]
    chosen: Engine | None
    options: CheckOptions
    overrides: dict[str, str]
    proofs: Proofs | None = None
    unproved: bool = False

    def wanted(self, loaded: Loaded) -> int:
        """How many reports there will be on a spec."""
        proofs = self.proofs.of if self.proofs is not None else ()
        return (len(loaded.systems) if self.chosen is not None else 0) + sum(x is loaded for x in proofs)


def carry_out(args: argparse.Namespace, seed: int | None, prepared: Callable[[], Work]) -> int:
    """Prepare, search and prove, print, write as `add_output_options` says; the exit code.  Raises SpecError when the
    input is wrong."""
    try:
        check_outputs(args)
        work = prepared()
        outcome = _done(work, args)
    except SpecError as error:
        write_reports(args, Run((), error.diagnostics, EXIT_WRONG, seed, version()))
        raise
    seed = work.options.seed
    wrong = write_all(args, outcome, work.overrides, seed)
    code = EXIT_WRONG if wrong else outcome.exit_code
    if args.json:
        print(run_to_json(Run(outcome.all, tuple(wrong), code, seed, version())), end="")
    else:
        print_summary(work.specs, outcome, work.wanted)
    for diagnostic in wrong:
        print(shown(diagnostic), file=sys.stderr)
    if work.options.checkpoints is not None and not wrong:
        sys.stdout.flush()
        forget_all(work.options.checkpoints, outcome.all)
    return code


def _done(work: Work, args: argparse.Namespace) -> Outcome:
    progress = None if args.quiet else ProgressLine(sys.stderr)
    show = None if args.json else printer(args)
    outcome = Outcome()
    try:
        with closing(_reports(work, progress)) as reports:
            for loaded, report in reports:
                if progress is not None:
                    progress.clear()
                first = not outcome.of(loaded)
                whole = replace(report, warnings=(*loaded.warnings, *report.warnings)) if first else report
                outcome.reports.append((loaded, whole))
                if show is not None:
                    show(whole)
                if whole.interrupted:
                    raise KeyboardInterrupt
    except KeyboardInterrupt:
        outcome.interrupted = True
        if progress is not None:
            progress.clear()
        print("interrupted", file=sys.stderr)
    return outcome


def _reports(work: Work, progress: ProgressLine | None) -> Generator[tuple[Loaded, InstanceReport], None, None]:
    """The searches first: they are quick, and proofs then have the machine for themselves."""
    for loaded in work.specs if work.chosen is not None else ():
        for system in loaded.systems:
            report = _judged(work, system, progress)
            yield loaded, report if work.unproved else replace(report, unproved=())
    if work.proofs is not None:
        with closing(work.proofs.run(progress)) as found:
            yield from zip(work.proofs.of, found, strict=True)


def _judged(work: Work, system: System, progress: ProgressLine | None) -> InstanceReport:
    """The engine's report; where the instance is too large to begin with, one that shows nothing and says so."""
    assert work.chosen is not None
    options = work.options
    try:
        return work.chosen(system, options, progress)
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
