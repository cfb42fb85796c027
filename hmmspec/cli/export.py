"""`hmmspec export SPEC --to promela|murphi`: the spec for another model checker, to check this one with it."""

from __future__ import annotations

import argparse
from pathlib import Path

from hmmspec.cli.args import Parser, add_instance_options, mistake, params
from hmmspec.cli.files import write_whole
from hmmspec.cli.specs import load_system
from hmmspec.export.murphi import murphi_of
from hmmspec.export.promela import promela_of


def parser() -> Parser:
    """The options of `export`."""
    p = Parser(
        "export",
        "Write one instance of a spec (without -i: the file's first) as a model for SPIN (promela) or\n"
        "Rumur (murphi), with the same states. How to run it stands at its beginning.",
    )
    p.add_argument("spec", metavar="SPEC", help="a .hmm file")
    add_instance_options(p)
    p.add_argument("--to", required=True, choices=["promela", "murphi"], help="the language of the other checker")
    p.add_argument(
        "--symmetry", action="store_true", help="murphi: symmetric types as scalarsets, so that orbits count"
    )
    p.add_argument("-o", dest="output", type=Path, metavar="FILE", help="where to write it (default: printed)")
    return p


def run(args: argparse.Namespace) -> int:
    """Export.  Raises SpecError, also for a construct that the other language cannot say (HMM078)."""
    if args.symmetry and args.to != "murphi":
        raise mistake("HMM089", "--symmetry is for --to murphi: Promela has no symmetric types")
    _, system = load_system(args.spec, args.instances, params(args.params))
    text = promela_of(system) if args.to == "promela" else murphi_of(system, symmetry=args.symmetry)
    if args.output is None:
        print(text, end="")
        return 0
    write_whole(args.output, text)
    print(f"{args.output}: written")
    return 0
