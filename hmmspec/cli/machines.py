"""Options that name a machine or a link, for the commands that ask the cost model."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from hmmspec.cli.args import Parser, mistake
from hmmspec.diagnostics import Diagnostic, SpecError, did_you_mean
from hmmspec.lang.load import read_source
from hmmspec.ref.cost.link import PcieLink
from hmmspec.ref.cost.machine import Machine
from hmmspec.ref.cost.machine_file import machine_from_json
from hmmspec.ref.cost.presets import PRESETS
from hmmspec.ref.cost.units import Impossible, read_size, read_time

T = TypeVar("T")

_NUMBERS = {
    "gen": ("generation", "G", "PCIe generation, 1 to 7"),
    "lanes": ("lanes", "N", "its lanes: 16 or x16"),
    "mps": ("mps", "BYTES", "maximum payload size"),
    "mrrs": ("mrrs", "BYTES", "maximum read request size"),
    "rcb": ("rcb", "BYTES", "read completion boundary; completions of that size, as older chipsets send them"),
    "ack": ("ack_interval", "SYMBOLS", "symbols from one Ack to the next; 0: they cost nothing (default: recommended)"),
    "fc": ("fc_interval", "SYMBOLS", "the same of flow-control updates"),
    "skip": ("skip_interval", "BYTES", "bytes from one SKIP ordered set to the next; 0: they cost nothing"),
    "outstanding": ("outstanding", "N", "how many reads wait at once"),
}


def add_link_options(p: Parser) -> None:
    """What changes the link of a machine."""
    group = p.add_argument_group("the link")
    for option, (_, metavar, told) in _NUMBERS.items():
        group.add_argument(f"--{option}", metavar=metavar, help=told)
    group.add_argument("--ecrc", action="store_true", help="packets carry a digest of 4 bytes")
    group.add_argument("--address-bits", metavar="BITS", help="32 or 64")
    group.add_argument("--round-trip", metavar="TIME", help="from a read request to its data: 800ns")


def machine_of(name: str, args: argparse.Namespace) -> Machine:
    """The preset or the file of that name, its link changed by the options.  Raises SpecError."""
    return with_link(named_machine(name), args)


def named_machine(name: str) -> Machine:
    """A preset's name, or a JSON file.  Raises SpecError."""
    if name in PRESETS:
        return PRESETS[name]
    if name.endswith(".json") or "/" in name:
        return machine_from_json(read_source(name))
    known = ", ".join(PRESETS)
    fix = did_you_mean(name, PRESETS) or f"presets are {known}; or name a .json file"
    raise mistake("HMM088", f"there is no machine '{name}'", fix)


def with_link(machine: Machine, args: argparse.Namespace) -> Machine:
    """The machine with what the options of `add_link_options` say.  Raises SpecError."""
    changes: dict[str, int | bool] = {}
    for option, (field, _, _) in _NUMBERS.items():
        text = getattr(args, option)
        if text is not None:
            changes[field] = _whole(option, text)
    if args.rcb is not None:
        changes["rcb_completions"] = True
    if args.ecrc:
        changes["ecrc"] = True
    if args.address_bits is not None:
        changes["address_bits"] = _whole("address-bits", args.address_bits)
    if args.round_trip is not None:
        changes["round_trip_ps"] = possible(lambda: read_time(args.round_trip))
    if not changes:
        return machine
    if not isinstance(machine.link, PcieLink):
        if set(changes) == {"round_trip_ps"}:
            return replace(machine, link=replace(machine.link, round_trip_ps=int(changes["round_trip_ps"])))
        told = f"'{machine.name}' is known by its rates: it has no generation, lanes or packet sizes to change"
        raise mistake("HMM089", told, "start from pcie3, pcie4, pcie5 or pcie6")
    link = machine.link
    # mypy cannot tell the fields of a replacement that is read from options.
    return possible(lambda: replace(machine, link=replace(link, **changes)))  # type: ignore[arg-type]


def possible(make: Callable[[], T]) -> T:
    """What `make` returns; what no hardware has becomes a diagnostic of the command line."""
    try:
        return make()
    except Impossible as error:
        raise mistake(error.code, error.message, error.fix) from None


def sizes_of(text: str) -> list[int]:
    """`64,4K,1M`.  Raises SpecError with every size that is none."""
    out: list[int] = []
    wrong: list[Diagnostic] = []
    for part in text.split(","):
        try:
            size = possible(lambda part=part: read_size(part))  # type: ignore[misc]
            if size == 0:
                raise mistake("HMM141", "a transfer of 0 bytes has no rate")
            out.append(size)
        except SpecError as error:
            wrong += error.diagnostics
    if wrong:
        raise SpecError(wrong)
    return out


def _whole(option: str, text: str) -> int:
    found = re.fullmatch(r"(-?)[xX]?([0-9]{1,9})", text.strip())
    if not found:
        raise mistake("HMM140", f"--{option} wants a whole number, not '{text}'")
    return int(found[1] + found[2])
