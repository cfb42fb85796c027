"""`hmmspec COMMAND ...`: picks the command's module, and turns every way to fail into a message and an exit code.

NOTE(exit-codes): 0 everything is as expected; 1 a property is violated, or something expected did not happen; 2 the
input or the command line is wrong; 3 incomplete; 70 a defect in hmmspec; 130 interrupted.
"""

from __future__ import annotations

import os
import platform
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module

from hmmspec.cli.args import mistake, shown
from hmmspec.diagnostics import InternalError, Limit, Severity, SpecError, did_you_mean

# Command -> what it does.  The module `hmmspec.cli.COMMAND` is imported only when it runs: `--help` stays quick.
COMMANDS = {
    "check": "search every reachable state of each instance and judge every property",
    "bmc": "look for violations in runs of up to so many steps, with Z3",
    "prove": "prove properties for every number of pages, with Z3",
    "recheck": "check a written proof once more, with Z3 and cvc5",
    "resume": "go on with a search from its checkpoint",
    "fmt": "write spec files in the one canonical layout",
    "show": "spell a spec out as plain guarded steps: what machines, threads and locks mean",
    "replay": "run a saved trace again, step by step",
    "walk": "choose steps by hand and watch what they change",
    "draw": "draw machines and threads as diagrams, or a small instance's states as a graph",
    "scenario": "do this, expect that: run scenario files on a kernel",
    "conform": "random programs on a kernel, held against specs, data and the kernel's own checks",
    "follow": "hold a recorded event log against a spec: is there a run that explains it?",
    "export": "write a spec as a model for SPIN or Rumur, to check this checker with them",
    "cost": "what moving pages costs: links, copies, migration, faults, beside what was measured",
    "linux": "build images of real kernels, for --target linux",
    "simulate": "workloads on the reference kernel: when does migrating pay?",
    "version": "print the version",
}

EXIT_WRONG, EXIT_INCOMPLETE, EXIT_DEFECT, EXIT_PIPE, EXIT_INTERRUPTED = 2, 3, 70, 141, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.  Returns the exit code; raises nothing."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            # A name that the terminal's encoding lacks is shown escaped: no report fails half-way.
            stream.reconfigure(errors="backslashreplace")
    try:
        code = _dispatch(arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read our output has gone.  Python would complain once more when it closes the stream.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_PIPE
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    return code


def help_text() -> str:
    """What `hmmspec --help` prints."""
    lines = ["usage: hmmspec COMMAND ...", "", "A model checker for the Linux kernel's HMM.", "", "commands:"]
    lines += [f"  {name:<9} {told}" for name, told in COMMANDS.items()]
    lines += ["", "'hmmspec COMMAND --help' tells the options of a command.", ""]
    lines += ["exit codes: 0 as expected, 1 violated or not as expected, 2 wrong input,"]
    lines += ["3 incomplete, 70 a defect in hmmspec, 130 interrupted"]
    return "\n".join(lines) + "\n"


def _dispatch(arguments: list[str]) -> int:
    if not arguments or arguments[0] in {"-h", "--help", "help"}:
        print(help_text(), end="")
        return 0 if arguments else EXIT_WRONG
    name, *rest = arguments
    if name in {"--version", "-V"}:
        name = "version"
    try:
        if name not in COMMANDS:
            raise _unknown_command(name)
        command = import_module(f"hmmspec.cli.{name}")
        code: int = command.run(command.parser().parse_args(rest))
    except SpecError as error:
        return _wrong(error, rest)
    except Limit as limit:
        print(f"hmmspec {name}: {limit} (incomplete)", file=sys.stderr)
        return EXIT_INCOMPLETE
    except MemoryError:
        less = {"simulate": ": take a smaller --size"} | dict.fromkeys(("check", "bmc", "resume"), ": see --memory")
        print(f"hmmspec {name}: out of memory (incomplete){less.get(name, '')}", file=sys.stderr)
        return EXIT_INCOMPLETE
    except (BrokenPipeError, KeyboardInterrupt):
        raise
    except Exception as error:  # noqa: BLE001  (the last resort: a defect of ours must not look like the user's)
        return _defect(name, error)
    return code


def _unknown_command(name: str) -> SpecError:
    fix = did_you_mean(name, COMMANDS) or f"the commands are {', '.join(COMMANDS)}"
    return mistake("HMM089", f"there is no command '{name}'", fix)


def _wrong(error: SpecError, arguments: list[str]) -> int:
    """Show what is wrong with the input: as a JSON document where one was asked for."""
    if "--json" in arguments:
        # Only here, since the reporters take a while to load.
        jsonout = import_module("hmmspec.report.jsonout")
        run = jsonout.Run((), error.diagnostics, EXIT_WRONG, None, _version())
        print(jsonout.run_to_json(run), end="")
    for d in error.diagnostics:
        print(shown(d), file=sys.stderr)
    errors = sum(d.severity is Severity.ERROR for d in error.diagnostics)
    if errors > 1:
        print(f"{errors} errors", file=sys.stderr)
    return EXIT_WRONG


def _defect(name: str, error: Exception) -> int:
    if os.environ.get("HMMSPEC_DEBUG"):
        traceback.print_exception(error)
    what = str(error) if isinstance(error, InternalError) else f"{type(error).__name__}: {error}"
    where = traceback.extract_tb(error.__traceback__)[-1]
    print(
        f"hmmspec {name}: this is a defect in hmmspec, not in your spec.\n"
        f"  {what}\n"
        f"  at {where.name}, line {where.lineno} of {os.path.basename(where.filename)}; "  # noqa: PTH119
        f"hmmspec {_version()}, Python {platform.python_version()}\n"
        "Please report it with these lines, the command and the spec.  With HMMSPEC_DEBUG=1 in the\n"
        "environment the same command prints a stack trace: that helps most.",
        file=sys.stderr,
    )
    return EXIT_DEFECT


def _version() -> str:
    told: str = import_module("hmmspec.cli.about").version()
    return told


if __name__ == "__main__":
    sys.exit(main())
