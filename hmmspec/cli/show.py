"""`hmmspec show SPEC`: what the spec means, as plain variables and guarded steps."""

from __future__ import annotations

import argparse

from hmmspec.cli.args import Parser, add_instance_options, params
from hmmspec.cli.specs import load_system
from hmmspec.system.layout import show_layout
from hmmspec.system.show import show_system


def parser() -> Parser:
    """The options of `show`."""
    p = Parser(
        "show",
        "Spell out what a spec means: machines, threads, procedures and locks as plain variables and\n"
        "guarded atomic steps, each with the line that it comes from. Without -i: the file's first instance.",
    )
    p.add_argument("spec", metavar="SPEC", help="a .hmm file")
    add_instance_options(p)
    p.add_argument(
        "--layout", action="store_true", help="instead: where each variable lies in a packed state of the native engine"
    )
    return p


def run(args: argparse.Namespace) -> int:
    """Print it.  Raises SpecError."""
    _, system = load_system(args.spec, args.instances, params(args.params))
    print((show_layout(system) if args.layout else show_system(system)).rstrip("\n"))
    return 0
