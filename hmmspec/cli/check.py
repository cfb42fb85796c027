"""`hmmspec check SPEC...`: judge every property of every instance."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from importlib import import_module

from hmmspec.checker.options import CheckOptions, RandomRuns
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
)
from hmmspec.cli.checkpoints import checkpoints, refuse_to_overwrite
from hmmspec.cli.engines import engine
from hmmspec.cli.files import check_writable
from hmmspec.cli.limits import default_memory
from hmmspec.cli.output import add_output_options
from hmmspec.cli.specs import Loaded, load_all
from hmmspec.cli.work import Proofs, Work, carry_out

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
    proofs = None if args.simulate else proofs_of(specs, args, expectations=not overrides)
    unproved = args.simulate and not args.no_prove
    return Work(specs, chosen, replace(_options(args), checkpoints=plan), overrides, proofs, unproved)


def proofs_of(specs: Sequence[Loaded], args: argparse.Namespace, *, expectations: bool) -> Proofs | None:
    """The proofs that the specs ask for in their `prove` lines, unless `--no-prove` leaves them out."""
    if args.no_prove or not any(system.proofs for loaded in specs for system in loaded.systems):
        return None
    # Only here, since Z3 takes a while to load.
    found: Proofs = import_module("hmmspec.cli.proofs").clauses(specs, args.time, expectations=expectations)
    return found


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
