"""`hmmspec cost table|link|fit|presets`: what the cost model says, and what it is worth."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hmmspec.cli.args import Parser, mistake
from hmmspec.cli.files import check_writable, write_whole
from hmmspec.cli.machines import add_link_options, machine_of, named_machine, possible, sizes_of
from hmmspec.diagnostics import Diagnostic, SpecError
from hmmspec.lang.load import read_source
from hmmspec.ref.cost.calibrate import calibrated
from hmmspec.ref.cost.evidence import evidence
from hmmspec.ref.cost.fit import Fit, fit_series
from hmmspec.ref.cost.link import PcieLink
from hmmspec.ref.cost.machine_file import machine_to_json
from hmmspec.ref.cost.measured import read_csv
from hmmspec.ref.cost.presets import PRESETS
from hmmspec.ref.cost.units import show_rate
from hmmspec.report.costs import (
    evidence_csv,
    evidence_markdown,
    evidence_text,
    fit_csv,
    fit_text,
    link_csv,
    link_table,
    updated,
)
from hmmspec.report.plots import SUFFIXES, plot_fits

_SIZES = "64,256,1K,4K,64K,1M,2M,64M"


class _Part(Parser):
    """A part of the command: argparse makes these itself and hands over its own arguments."""

    def __init__(self, prog: str, **told: Any) -> None:
        super().__init__(prog.removeprefix("hmmspec "), told.get("description", ""))


def parser() -> Parser:
    """The options of `cost`."""
    p = Parser("cost", "What moving pages costs: over which link, by which engine, with which work of the CPU.")
    parts = p.add_subparsers(dest="part", metavar="PART", parser_class=_Part)
    for name, (told, options) in _PARTS.items():
        options(parts.add_parser(name, description=told))
    p.epilog = "parts: table, link, fit, presets; 'hmmspec cost PART --help' tells the options of each"
    return p


def run(args: argparse.Namespace) -> int:
    """Carry out one part.  Raises SpecError."""
    match args.part:
        case "table":
            return _table(args)
        case "link":
            return _link(args)
        case "fit":
            return _fit(args)
        case "presets":
            return _presets(args)
        case _:
            raise mistake("HMM089", "cost wants one of table, link, fit, presets", "see 'hmmspec cost --help'")


def _table_options(p: Parser) -> None:
    kind = p.add_mutually_exclusive_group()
    kind.add_argument("--markdown", action="store_true", help="as in docs/cost.md, with sources")
    kind.add_argument("--csv", action="store_true", help="all numbers, with sources")
    kind.add_argument("--update", type=Path, metavar="FILE", help="make the table of docs/cost.md anew")


def _table(args: argparse.Namespace) -> int:
    groups = evidence()
    if args.update is not None:
        page = updated(read_source(str(args.update)).text, groups)
        if page is None:
            fix = "the table stands between '<!-- begin: hmmspec cost table -->' and '<!-- end -->'"
            raise mistake("HMM088", f"'{args.update}' has no table to make anew", fix)
        write_whole(args.update, page)
        return 0
    show = evidence_markdown if args.markdown else evidence_csv if args.csv else evidence_text
    print(show(groups), end="")
    return 0 if all(row.fine for group in groups for row in group.rows) else 1


def _link_options(p: Parser) -> None:
    p.add_argument("machine", nargs="?", default="pcie4", metavar="MACHINE", help="a preset or a .json file (pcie4)")
    add_link_options(p)
    p.add_argument("--sizes", default=_SIZES, metavar="LIST", help=f"sizes of transfers ({_SIZES})")
    p.add_argument("--csv", action="store_true", help="in bytes, bytes a second and picoseconds")


def _link(args: argparse.Namespace) -> int:
    link = machine_of(args.machine, args).link
    sizes = sizes_of(args.sizes)
    if args.csv:
        print(link_csv(link, sizes), end="")
        return 0
    print(link)
    print(f"  raw {show_rate(link.raw, 3)}", end="")
    if isinstance(link, PcieLink):
        print(f", packets {show_rate(link.tlp, 3)}: ", end="")
        print(f"Ack each {link.ack_symbols or 'no'}, FC each {link.fc_symbols or 'no'} symbols", end="")
    print()
    print("\n".join(link_table(link, sizes).text("  ")))
    return 0


def _fit_options(p: Parser) -> None:
    p.add_argument("file", metavar="CSV", help="columns: bytes and time_us, and more (docs/cost.md)")
    p.add_argument("--hold-out", metavar="LIST", help="sizes that are predicted and not used: 16K,64K")
    p.add_argument("--plot", type=Path, metavar="FILE", help="points and curves, as .png, .svg or .pdf")
    p.add_argument("--csv", action="store_true", help="every point with its predictions")
    p.add_argument("--machine", type=Path, metavar="FILE", help="write a machine with these constants, for --link")
    p.add_argument("--base", default="pcie4", metavar="MACHINE", help="where its other numbers are from (pcie4)")


def _fit(args: argparse.Namespace) -> int:
    check_plot(args.plot)
    if args.machine is not None:
        check_writable(args.machine)
    base = named_machine(args.base)
    held_out = sizes_of(args.hold_out) if args.hold_out else []
    measured = read_csv(read_source(args.file))
    fits: list[Fit] = []
    wrong: list[Diagnostic] = []
    for series in measured.series:
        try:
            fits.append(possible(lambda series=series: fit_series(series, held_out)))  # type: ignore[misc]
        except SpecError as error:
            wrong += error.diagnostics
    if wrong:
        raise SpecError(wrong)
    missing = [size for size in held_out if not any(j.point.size == size for f in fits for j in f.chosen)]
    if missing:
        raise mistake("HMM088", f"no point has the size {missing[0]} that --hold-out names")
    if args.csv:
        print(fit_csv(fits), end="")
    else:
        print("\n\n".join("\n".join(fit_text(fit)) for fit in fits))
        if measured.unused:
            print(f"\ncolumns that are not used: {', '.join(measured.unused)}")
    if args.machine is not None:
        machine = possible(lambda: calibrated(base, fits, args.machine.stem))
        write_whole(args.machine, machine_to_json(machine))
    if args.plot is not None:
        plot_fits(fits, args.plot)
    return 0


def _presets_options(p: Parser) -> None:
    p.add_argument("name", nargs="?", metavar="NAME", help="one of them, with all its sources")
    p.add_argument("--json", action="store_true", help="as a file that --link reads, to be changed")


_PARTS: dict[str, tuple[str, Callable[[Parser], None]]] = {
    "table": ("What others measured beside what the model says (docs/cost.md).", _table_options),
    "link": ("Bandwidth and time of a link by size of transfer.", _link_options),
    "fit": ("Constants from measurements, as benchmarks/gpu_copy.py makes them.", _fit_options),
    "presets": ("Machines by name, and where their numbers are from.", _presets_options),
}


def check_plot(path: Path | None) -> None:
    """Before any work: whether the plot can be written at all.  Raises SpecError."""
    if path is None:
        return
    if path.suffix not in SUFFIXES:
        raise mistake("HMM089", f"'{path}' must end in {', '.join(SUFFIXES)}")
    check_writable(path)


def _presets(args: argparse.Namespace) -> int:
    if args.json and args.name is None:
        raise mistake("HMM089", "--json writes one preset: name it")
    if args.name is None:
        for name, machine in PRESETS.items():
            print(f"{name:<6} {machine.link}; device memory {show_rate(machine.device.rate, 0)}")
        return 0
    machine = named_machine(args.name)
    if args.json:
        print(machine_to_json(machine), end="")
        return 0
    print(f"{machine.name}: {machine.link}")
    print("\n".join(f"  {line}" for line in machine.sources))
    return 0
