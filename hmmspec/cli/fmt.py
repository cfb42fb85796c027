"""`hmmspec fmt FILE...`: one layout for everybody's files."""

from __future__ import annotations

import argparse
import difflib
import sys
from pathlib import Path

from hmmspec.cli.args import Parser
from hmmspec.cli.files import write_whole
from hmmspec.conform.scenario import layout
from hmmspec.diagnostics import Diagnostic, Source, SpecError
from hmmspec.lang.formatter import format_text
from hmmspec.lang.load import read_source


def parser() -> Parser:
    """The options of `fmt`."""
    p = Parser(
        "fmt",
        "Write spec files in the one common layout. Comments stay where they are.",
        "exit codes: 0 done, or nothing to do; 1 with --check or --diff: some file would change;\n"
        "2 a file cannot be read or is not a spec: none is changed then",
    )
    p.add_argument(
        "files", nargs="+", metavar="FILE", help="a .hmm or .scn file; - reads standard input, writes standard output"
    )
    p.add_argument("--check", action="store_true", help="change nothing, name the files that would change")
    p.add_argument("--diff", action="store_true", help="change nothing, show what would change")
    return p


def run(args: argparse.Namespace) -> int:
    """Format all files or, if one is wrong, none.  Raises SpecError."""
    done: list[tuple[Source, str]] = []
    wrong: list[Diagnostic] = []
    for name in args.files:
        try:
            source = Source("<stdin>", sys.stdin.read()) if name == "-" else read_source(name)
            lay_out = layout.format_text if name.endswith(".scn") else format_text
            done.append((source, lay_out(source)))
        except SpecError as error:
            wrong += error.diagnostics
    if wrong:
        raise SpecError(wrong)
    changed = [(source, text) for source, text in done if text != source.text]
    if args.diff:
        for source, text in changed:
            print(_diff(source, text), end="")
    if args.check:
        for source, _ in changed:
            print(f"{source.path}: would change", file=sys.stderr)
    if args.check or args.diff:
        return 1 if changed else 0
    for source, text in done:
        if source.path == "<stdin>":
            print(text, end="")
    for source, text in changed:
        if source.path != "<stdin>":
            write_whole(Path(source.path), text)
            print(f"{source.path}: written")
    return 0


def _diff(source: Source, text: str) -> str:
    old, new = source.text.splitlines(keepends=True), text.splitlines(keepends=True)
    lines = difflib.unified_diff(old, new, source.path, f"{source.path} (formatted)")
    return "".join(line if line.endswith("\n") else line + "\n\\ No newline at end of file\n" for line in lines)
