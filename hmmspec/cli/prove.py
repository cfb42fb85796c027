"""`hmmspec prove SPEC...`: properties for every number of pages, or whatever else a symmetric type is."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from hmmspec.checker.options import CheckOptions
from hmmspec.checker.symbolic.proofs import provable, size_params
from hmmspec.checker.symbolic.prover import Goal, ProveOptions, goals_of
from hmmspec.cli.args import Parser, add_instance_options, count, duration, mistake, params
from hmmspec.cli.files import check_writable
from hmmspec.cli.output import add_output_options
from hmmspec.cli.proofs import Plan, proofs
from hmmspec.cli.specs import Loaded, load_all
from hmmspec.cli.work import Work, carry_out
from hmmspec.diagnostics import Diagnostic, SpecError, did_you_mean
from hmmspec.system.system import System

DEFAULT = ProveOptions()


def parser() -> Parser:
    """The options of `prove`."""
    p = Parser(
        "prove",
        "Prove properties for every number of pages, or of whatever else the spec has any number of: by default\n"
        "what the 'prove' lines of the files name; where no file has such lines all invariants, step properties,\n"
        "asserts and misuse of locks, for all symmetric types whose size is a param. What else must be known to\n"
        "prove them is found without help. A property that is false in a small instance is shown with a run.",
        "exit codes: 0 all is proved, or violated as the file expects; 1 something is violated that should hold, or\n"
        "proved that should be violated; 2 the input is wrong; 3 something is not proved; 130 interrupted",
    )
    p.add_argument("specs", nargs="+", metavar="SPEC", help="a .hmm file")
    add_instance_options(p)
    group = p.add_argument_group("what to prove")
    group.add_argument(
        "--property", dest="properties", action="append", default=[], metavar="NAME", help="only this (repeatable)"
    )
    group.add_argument(
        "--every", type=_names, metavar="TYPE,..", help="for every number of these types, whatever the file says"
    )
    group.add_argument(
        "--instance-only", action="store_true", help="for the instance as it is, not for every number of anything"
    )
    group = p.add_argument_group("limits (what is not decided by then is told as not proved: exit code 3)")
    group.add_argument(
        "--time",
        type=duration,
        default=DEFAULT.seconds,
        metavar="TIME",
        help=f"of a core, for one spec with one setting of its params (default: {DEFAULT.seconds:.0f}s)",
    )
    group.add_argument(
        "--query-time",
        type=duration,
        default=DEFAULT.query,
        metavar="TIME",
        help=f"for one question to Z3, by its own count of its work (default: {DEFAULT.query:.0f}s)",
    )
    group.add_argument("--jobs", type=count, default=0, metavar="N", help="proofs at once (default: one on each core)")
    written = add_output_options(p, searches=False)
    written.add_argument("--certificate", type=Path, metavar="DIR", help="each proof, for 'hmmspec recheck'")
    return p


def run(args: argparse.Namespace) -> int:
    """Prove, print, write.  Raises SpecError when the input is wrong."""
    return carry_out(args, None, partial(_work, args))


def _work(args: argparse.Namespace) -> Work:
    if args.instance_only and args.every is not None:
        raise mistake("HMM089", "--instance-only is about no type of any size", "leave out --every")
    if args.instance_only and args.certificate is not None:
        told = "a certificate is of a proof for every number of something"
        raise mistake("HMM089", told, "leave out --instance-only or --certificate")
    overrides = params(args.params)
    if args.certificate is not None:
        check_writable(args.certificate)
    specs = load_all(args.specs, args.instances, overrides)
    specs = _with_lines(specs, args)
    wrong: list[Diagnostic] = []
    goals: dict[int, list[Goal]] = {}  # by the identity of a System
    for loaded in specs:
        for system in loaded.systems:
            try:
                goals[id(system)] = _goals(loaded, system, args)
            except SpecError as error:
                wrong += [d for d in error.diagnostics if d not in wrong]
    if wrong:
        raise SpecError(wrong)
    options = ProveOptions(seconds=args.time, query=args.query_time)
    plan = Plan(lambda s: goals[id(s)], options, args.certificate, args.jobs, not args.params)
    return Work(specs, None, CheckOptions(engine="z3"), overrides, proofs(specs, plan))


def _with_lines(specs: Sequence[Loaded], args: argparse.Namespace) -> list[Loaded]:
    """Of several files those that say what is to be proved, where some do and nothing else was asked for."""
    if args.properties or args.every is not None or args.instance_only:
        return list(specs)
    kept = [loaded for loaded in specs if any(system.proofs for system in loaded.systems)]
    names = {loaded.path for loaded in kept}
    for loaded in specs if kept and not args.quiet else ():
        if loaded.path not in names:
            print(f"{loaded.path} has no 'prove' line: left out (by itself all of it would be tried)", file=sys.stderr)
    return kept or list(specs)


def _goals(loaded: Loaded, system: System, args: argparse.Namespace) -> list[Goal]:
    """What is asked for of one instance.  Raises SpecError for names that the spec does not have."""
    wanted = _known(args.properties, system, loaded.path)
    written = goals_of(system)
    named = tuple(dict.fromkeys(name for goal in written for name in goal.properties))
    if args.instance_only:
        return [Goal(wanted or named or provable(system), ())]
    if args.every is not None:
        every = _types(args.every, loaded, system)
        covered = [g.properties for g in written if set(g.every) == set(every)]
        return [Goal(wanted or (covered[0] if covered else named or provable(system)), every)]
    found = [Goal(tuple(n for n in g.properties if not wanted or n in wanted), g.every) for g in written]
    found = [g for g in found if g.properties]
    rest = tuple(n for n in wanted if n not in named) if wanted or named else provable(system)
    found += [Goal(rest, _sized(loaded, system))] if rest else []
    together: dict[tuple[str, ...], list[str]] = {}
    for g in found:
        together.setdefault(g.every, []).extend(g.properties)
    return [Goal(tuple(names), every) for every, names in together.items()]


def _known(names: Sequence[str], system: System, path: str) -> tuple[str, ...]:
    possible = provable(system)
    wrong: list[Diagnostic] = []
    for name in names:
        if name in possible:
            continue
        if name in {p.name for p in system.properties}:
            told = f"'{name}' of {path} cannot be proved: only invariants, steps, asserts and lock findings can"
            wrong += mistake("HMM074", told).diagnostics
        else:
            told = f"{path} has no property '{name}'"
            wrong += mistake("HMM088", told, did_you_mean(name, possible)).diagnostics
    if wrong:
        raise SpecError(wrong)
    return tuple(dict.fromkeys(names))


def _types(names: Sequence[str], loaded: Loaded, system: System) -> tuple[str, ...]:
    """The types of `--every`.  Raises SpecError for those that cannot be of any size."""
    sizes, symmetric = size_params(loaded.spec), {t.name for t in system.symmetric}
    wrong: list[Diagnostic] = []
    for name in names:
        if name in symmetric and name in sizes:
            continue
        fix = did_you_mean(name, sizes) or (f"there may be any number of {', '.join(sizes)}" if sizes else None)
        told = f"the size of '{name}' in {loaded.path} is not a param" if name in symmetric else None
        wrong += mistake("HMM088", told or f"{loaded.path} has no symmetric type '{name}'", fix).diagnostics
    if wrong:
        raise SpecError(wrong)
    return tuple(sorted(set(names)))


def _sized(loaded: Loaded, system: System) -> tuple[str, ...]:
    """All types that may be of any size.  Raises SpecError if there is none."""
    sizes = size_params(loaded.spec)
    found = tuple(sorted(t.name for t in system.symmetric if t.name in sizes))
    if not found:
        told = f"{loaded.path} has no symmetric type whose size is a param: there is nothing that it has any number of"
        raise mistake("HMM089", told, "--instance-only proves the properties of the instance as it is")
    return found


def _names(text: str) -> tuple[str, ...]:
    names = tuple(part.strip() for part in text.split(","))
    if not all(names):
        raise argparse.ArgumentTypeError(f"'{text}' is not a list of types: write Page,Frame")
    return names
