"""`hmmspec draw SPEC`: machines, threads and small state graphs as diagrams."""

from __future__ import annotations

import argparse
import shutil
import subprocess
from pathlib import Path

from hmmspec.cli.args import Parser, add_instance_options, count, mistake, params
from hmmspec.cli.files import write_whole
from hmmspec.cli.specs import load_system
from hmmspec.diagnostics import did_you_mean
from hmmspec.lang.load import load
from hmmspec.report.diagrams import diagrams_of
from hmmspec.report.dot import Diagram, to_dot
from hmmspec.report.graph import graph_of
from hmmspec.system.run import Interpreter

_PATIENCE = 60  # seconds


def parser() -> Parser:
    """The options of `draw`."""
    p = Parser(
        "draw",
        "Draw each machine by its arrows and each thread by its labels; or, with --graph, every\n"
        "reachable state of a small instance (without -i: the file's first).",
    )
    p.add_argument("spec", metavar="SPEC", help="a .hmm file")
    add_instance_options(p)
    p.add_argument("-o", dest="output", type=Path, metavar="FILE", help="a .dot file, or .svg (default: DOT, printed)")
    p.add_argument("--machine", metavar="NAME", help="only this machine, thread or procedure")
    p.add_argument("--graph", action="store_true", help="the reachable states and steps of one instance")
    p.add_argument("--max-states", type=count, default=200, metavar="N", help="the most states --graph draws (200)")
    return p


def run(args: argparse.Namespace) -> int:
    """Draw.  Raises SpecError, and Limit where the graph is too large."""
    if args.output is not None and args.output.suffix not in {".dot", ".gv", ".svg"}:
        raise mistake("HMM089", f"'{args.output}' must end in .dot or .svg")
    if args.graph:
        if args.machine:
            raise mistake("HMM089", "--graph draws states, --machine one declaration: give one of them")
        loaded, system = load_system(args.spec, args.instances, params(args.params))
        name, diagrams = loaded.spec.name, [graph_of(Interpreter(system), args.max_states)]
    else:
        spec = load(args.spec)
        name, diagrams = spec.name, _chosen(diagrams_of(spec), args.machine)
    text = to_dot(name, diagrams)
    if args.output is None:
        print(text, end="")
        return 0
    write_whole(args.output, _svg(text) if args.output.suffix == ".svg" else text)
    print(f"{args.output}: written")
    return 0


def _chosen(diagrams: dict[str, Diagram], name: str | None) -> list[Diagram]:
    if not diagrams:
        raise mistake("HMM088", "the spec has no machine and no thread to draw", "--graph draws its states")
    if name is None:
        return list(diagrams.values())
    if name not in diagrams:
        fix = did_you_mean(name, diagrams) or f"there are {', '.join(diagrams)}"
        raise mistake("HMM088", f"the spec has no machine, thread or procedure '{name}'", fix)
    return [diagrams[name]]


def _svg(text: str) -> str:
    """The drawing by Graphviz.  Raises SpecError where that is not installed or fails."""
    program = shutil.which("dot")
    if program is None:
        fix = "install Graphviz, or write a .dot file and draw it elsewhere"
        raise mistake("HMM087", "an .svg file needs the program 'dot' of Graphviz, which is not installed", fix)
    try:
        done = subprocess.run(
            [program, "-Tsvg"], input=text, capture_output=True, text=True, check=False, timeout=_PATIENCE
        )
    except subprocess.TimeoutExpired:
        told = f"Graphviz did not finish the drawing in {_PATIENCE} seconds"
        raise mistake("HMM087", told, "draw fewer states, or write a .dot file") from None
    if done.returncode:
        raise mistake("HMM087", f"Graphviz could not draw it: {done.stderr.strip() or done.returncode}")
    return done.stdout
