"""`hmmspec walk SPEC`: choose steps by hand and watch what they change."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import sys

from hmmspec.cli.args import Parser, add_instance_options, params
from hmmspec.cli.specs import load_system
from hmmspec.cli.walker import HELP, Walker
from hmmspec.report.style import style_for
from hmmspec.system.run import Interpreter


def parser() -> Parser:
    """The options of `walk`."""
    p = Parser(
        "walk",
        "Choose steps by hand and watch what they change. Without -i: the file's first instance.\n"
        "Commands are read from standard input, so a walk can also come from a file or a pipe.",
        f"commands:\n{HELP}",
    )
    p.add_argument("spec", metavar="SPEC", help="a .hmm file")
    add_instance_options(p)
    p.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the random steps (default: 0)")
    return p


def run(args: argparse.Namespace) -> int:
    """Read commands until `q` or the end of the input.  Raises SpecError where the spec is wrong."""
    overrides = params(args.params)
    loaded, system = load_system(args.spec, args.instances, overrides)
    walker = Walker(loaded, Interpreter(system), overrides, args.seed, style_for(sys.stdout))
    terminal = sys.stdin.isatty()
    if terminal:
        with contextlib.suppress(ImportError):
            importlib.import_module("readline")  # line editing and history, where Python was built with it
    print(f"{loaded.path}, instance {system.instance}, seed {args.seed}; ? lists the commands")
    if not walker.begin():
        return 1
    while True:
        try:
            line = input("> ")
        except EOFError:
            print()
            return 0
        except KeyboardInterrupt:
            print()
            continue
        if not terminal:
            print(line)
        if line.strip() in {"q", "quit", "exit"}:
            return 0
        walker.command(line)
