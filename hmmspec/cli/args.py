"""Reading the command line: options that several commands share, and errors that read like all others."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from hmmspec.diagnostics import Diagnostic, Severity, Source, Span, SpecError, did_you_mean, render

COMMAND_LINE = Span(Source("<command line>", ""), 0, 0)

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_NUMBER = re.compile(r"-?(0x[0-9a-fA-F_]+|[0-9][0-9_]*)")
_TIMES = {"": 1, "s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}
_SIZES = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


class Parser(argparse.ArgumentParser):
    """argparse whose mistakes are diagnostics, so that `--json` can carry them and exit codes are one story."""

    def __init__(self, command: str, told: str, epilog: str = "") -> None:
        super().__init__(
            prog=f"hmmspec {command}",
            description=told,
            epilog=epilog or None,
            allow_abbrev=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        # `--size -4M`: a value that is wrong, and not an option that is missing.
        self._negative_number_matcher = re.compile(r"-[0-9.]")

    def error(self, message: str) -> NoReturn:
        """Raise SpecError: the message, what is likely meant, how to get help."""
        fix = None
        if unknown := re.match(r"unrecognized arguments: (\S+)", message):
            known = [option for action in self._actions for option in action.option_strings]
            fix = did_you_mean(unknown[1].split("=")[0], known)
        raise mistake("HMM089", message, fix or f"see '{self.prog} --help'")


def mistake(code: str, message: str, fix: str | None = None) -> SpecError:
    """A mistake on the command line: it has no place in any file."""
    return SpecError([Diagnostic(code, message, COMMAND_LINE, Severity.ERROR, (), fix)])


def add_instance_options(parser: Parser) -> None:
    """`-i` and `-p`."""
    group = parser.add_argument_group("which instance")
    group.add_argument(
        "-i", dest="instances", action="append", default=[], metavar="NAME", help="this instance only (repeatable)"
    )
    group.add_argument(
        "-p",
        dest="params",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="set a parameter (repeatable); without -i: of the instance 'default'. Expectations are not judged then",
    )


def add_limit_options(parser: Parser) -> None:
    """What bounds a search."""
    group = parser.add_argument_group("limits, of each instance (a search that reaches one is incomplete: exit code 3)")
    group.add_argument("--states", type=_states, metavar="N", help="stop after N stored states")
    group.add_argument("--time", type=duration, metavar="TIME", help="stop after 90s, 10m, 1h")
    group.add_argument(
        "--memory", type=size, metavar="SIZE", help="stop at 512M, 2G (default: most of what the machine has free)"
    )


def add_engine_options(parser: Parser) -> None:
    """How the search is done."""
    group = parser.add_argument_group("how to search")
    group.add_argument(
        "--engine",
        default="auto",
        metavar="NAME",
        help="auto, python, native, z3 or all (default: auto, which is native for all but small instances)",
    )
    group.add_argument(
        "--threads", type=count, metavar="N", default=0, help="threads of the native engine (default: one on each core)"
    )
    group.add_argument(
        "--keep-c", type=Path, metavar="DIR", help="write what the native engine compiles there, to be read"
    )
    group.add_argument("--spill", type=Path, metavar="DIR", help="keep states on disk, in this folder (native engine)")
    group.add_argument(
        "--hash",
        type=int,
        choices=(40, 64),
        default=0,
        help="keep so many bits of a hash of each state in memory, and its states on disk (native engine)",
    )
    group.add_argument(
        "--simulate", action="store_true", help="random runs instead of a search, for what is too large to search"
    )
    group.add_argument("--runs", type=count, metavar="N", help="how many random runs (default: 10000, or until --time)")
    group.add_argument("--depth", type=count, metavar="N", help="the most steps of a random run (default: 1000)")
    group.add_argument("--no-symmetry", action="store_true", help="store every state, not one of each orbit")
    group.add_argument("--no-prove", action="store_true", help="skip the 'prove' lines of the file")
    group.add_argument("--seed", type=int, metavar="N", default=0, help="seed of whatever is random (default: 0)")


def add_checkpoint_options(parser: Parser) -> None:
    """Where a search is saved, and how often."""
    group = parser.add_argument_group("checkpoints, for 'hmmspec resume' (native engine)")
    group.add_argument(
        "--checkpoint", type=Path, metavar="DIR", help="save the search of each instance there from time to time"
    )
    add_cadence(group)


def add_cadence(group: argparse._ArgumentGroup) -> None:
    """How often a search is saved."""
    group.add_argument(
        "--checkpoint-every",
        type=minutes,
        metavar="MINUTES",
        help="how often, in minutes; 0.5 is half a minute (default: 10)",
    )


def check_store(args: argparse.Namespace) -> None:
    """Whether `--hash` and `--spill` fit the other options.  Raises SpecError."""
    for option in ("hash", "spill"):
        if getattr(args, option) and args.engine not in ("auto", "native"):
            why = "the Python engine keeps whole states in memory"
            if args.engine != "python":
                why = f"the engine '{args.engine}' does not take it"
            told = f"--{option} is an option of the native engine: {why}"
            raise mistake("HMM089", told, f"leave out '--engine {args.engine}'")


def params(texts: Sequence[str]) -> dict[str, str]:
    """`PAGES=3`, `FIXED=true`, `START=device`: name and value.  Raises SpecError for every one that cannot be read."""
    out: dict[str, str] = {}
    wrong: list[Diagnostic] = []
    for text in texts:
        name, equals, value = (part.strip() for part in text.partition("="))
        if not equals or not _NAME.fullmatch(name):
            wrong += mistake("HMM084", f"-p wants NAME=VALUE, not '{text}'").diagnostics
        elif not _NAME.fullmatch(value) and not _NUMBER.fullmatch(value):
            told = f"the value of {name} must be a number, true, false or a name, not '{value}'"
            wrong += mistake("HMM084", told).diagnostics
        else:
            out[name] = value
    if wrong:
        raise SpecError(wrong)
    return out


def shown(d: Diagnostic) -> str:
    """The diagnostic as text; one about the command line has no file and no line to name."""
    return re.sub(r"^<command line>:1:[0-9]+: ", "", render(d))


def duration(text: str) -> float:
    """Seconds in `90`, `90s`, `1.5m`, `1h`, `1h30m`."""
    parts = re.findall(r"([0-9]+(?:\.[0-9]+)?)\s*([a-z]*)", text.lower())
    whole = "".join(n + u for n, u in parts) == text.lower().replace(" ", "")
    if not parts or not whole or any(u not in _TIMES for _, u in parts):
        raise argparse.ArgumentTypeError(f"'{text}' is not a time: write 90s, 10m or 1h")
    total = sum(float(n) * _TIMES[u] for n, u in parts)
    if total <= 0:
        raise argparse.ArgumentTypeError(f"'{text}' is no time at all")
    return total


def minutes(text: str) -> float:
    """Seconds in a number of minutes: `10`, `0.5`."""
    if not re.fullmatch(r"[0-9]+(\.[0-9]+)?", text) or not 0 < float(text) < 1e6:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number of minutes: write 10 or 0.5")
    return 60 * float(text)


def size(text: str) -> int:
    """Bytes in `2G`, `512M`, `2GiB`, `1.5g`."""
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*([kmgt]?)(?:i?b)?", text.strip().lower())
    if not found or float(found[1]) <= 0:
        raise argparse.ArgumentTypeError(f"'{text}' is not an amount of memory: write 512M or 2G")
    return int(float(found[1]) * _SIZES[found[2]])


def count(text: str) -> int:
    """A number from 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number from 1")
    return int(text)


def from_zero(text: str) -> int:
    """A number from 0."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"'{text}' is not a number from 0")
    return int(text)


def _states(text: str) -> int:
    """`1000`, `10k`, `2M`."""
    found = re.fullmatch(r"([0-9][0-9_]*)([kKmM]?)", text)
    if not found or int(found[1]) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number of states: write 100000, 100k or 2M")
    return int(found[1]) * {"": 1, "k": 1_000, "m": 1_000_000}[found[2].lower()]
