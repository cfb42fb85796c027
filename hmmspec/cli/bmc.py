"""`hmmspec bmc SPEC...`: shortest violations by bounded search."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial

from hmmspec.checker.options import CheckOptions
from hmmspec.checker.symbolic.bounded import check_bounded
from hmmspec.checker.verdict import InstanceReport, Progress
from hmmspec.cli.args import Parser, add_instance_options, count, duration, params, size
from hmmspec.cli.limits import default_memory
from hmmspec.cli.output import add_output_options
from hmmspec.cli.specs import load_all
from hmmspec.cli.work import Work, carry_out
from hmmspec.system.system import System

DEPTH = 20


def parser() -> Parser:
    """The options of `bmc`."""
    p = Parser(
        "bmc",
        "Look for violations in all runs of up to so many steps of each instance, however many states these have.\n"
        "Judged: invariants, step properties, asserts, misuse of locks, errors of the spec, deadlock;\n"
        "'reachable' where a run gets there.",
        "exit codes: as those of check; 3 where the spec has properties that a bounded search does not judge",
    )
    p.add_argument("specs", nargs="+", metavar="SPEC", help="a .hmm file")
    p.add_argument("-k", "--depth", type=count, default=DEPTH, metavar="N", help=f"steps (default: {DEPTH})")
    add_instance_options(p)
    p.add_argument("--no-prove", action="store_true", help="skip the 'prove' lines of the file")
    group = p.add_argument_group("limits, of each instance (what was shown until then is told: exit code 3)")
    group.add_argument("--time", type=duration, metavar="TIME", help="stop after 90s, 10m, 1h")
    group.add_argument("--memory", type=size, metavar="SIZE", help="stop at 512M, 2G (default: most of what is free)")
    add_output_options(p)
    return p


def run(args: argparse.Namespace) -> int:
    """Look, print, write.  Raises SpecError when the input is wrong."""
    return carry_out(args, None, partial(_work, args))


def _work(args: argparse.Namespace) -> Work:
    overrides = params(args.params)
    options = CheckOptions(
        engine="z3", seconds=args.time, memory=args.memory or default_memory(), expectations=not args.params
    )

    def search(system: System, options: CheckOptions, progress: Callable[[Progress], None] | None) -> InstanceReport:
        return check_bounded(system, args.depth, options, progress)

    specs = load_all(args.specs, args.instances, overrides)
    return Work(specs, search, options, overrides, unproved=not args.no_prove)
