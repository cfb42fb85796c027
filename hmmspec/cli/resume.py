"""`hmmspec resume FILE`: go on with a search from its checkpoint."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path

from hmmspec.checker.native.checkpoint import Foreign, Header, Saved, Unusable, read
from hmmspec.checker.native.engine import resume_native
from hmmspec.checker.options import CheckOptions, Checkpoints
from hmmspec.checker.verdict import InstanceReport, Progress
from hmmspec.cli.about import version
from hmmspec.cli.args import Parser, add_cadence, add_limit_options, count, mistake, params
from hmmspec.cli.check import proofs_of
from hmmspec.cli.files import check_writable
from hmmspec.cli.limits import default_memory
from hmmspec.cli.output import add_output_options
from hmmspec.cli.specs import load_one
from hmmspec.cli.work import Work, carry_out
from hmmspec.diagnostics import SpecError
from hmmspec.report.phrases import plural, seconds
from hmmspec.system.system import System


def parser() -> Parser:
    """The options of `resume`."""
    p = Parser(
        "resume",
        "Go on with a search that 'check --checkpoint' saved. What it is a search of, and how, is in the file;\n"
        "limits are those given here. It goes on saving into the same file, and removes it when the search is over.",
        "exit codes: as those of check; 2 also for a checkpoint that is damaged or of something else",
    )
    p.add_argument("file", metavar="FILE", type=Path, help="a checkpoint")
    p.add_argument("spec", metavar="SPEC", nargs="?", help="the spec (default: the one the checkpoint names)")
    group = p.add_argument_group("how to go on")
    group.add_argument("--threads", type=count, metavar="N", default=0, help="threads (default: one on each core)")
    group.add_argument("--keep-c", type=Path, metavar="DIR", help="write what is compiled there, to be read")
    group.add_argument("--spill", type=Path, metavar="DIR", help="keep states on disk, in this folder")
    group.add_argument("--no-prove", action="store_true", help="skip the 'prove' lines of the file")
    add_cadence(group)
    add_limit_options(p)
    add_output_options(p)
    return p


def run(args: argparse.Namespace) -> int:
    """Go on, print, write.  Raises SpecError for a checkpoint or a spec that is wrong."""
    return carry_out(args, None, partial(_work, args))


def _work(args: argparse.Namespace) -> Work:
    for path in (args.keep_c, args.spill):
        if path is not None:
            check_writable(path)
    try:
        saved = read(args.file)
    except Unusable as unusable:
        raise _refused(args.file, unusable) from None
    try:
        return _work_on(saved, args)
    except BaseException:
        saved.close()
        raise


def _work_on(saved: Saved, args: argparse.Namespace) -> Work:
    header = saved.header
    overrides = params([f"{name}={value}" for name, value in header.overrides.items()])
    loaded = load_one(args.spec or _spec_path(header), [header.instance], overrides)
    # Where the file is a link, what it leads to is replaced.
    file = args.file.resolve() if args.file.is_symlink() else args.file
    plan = Checkpoints(file.parent, args.checkpoint_every or header.every, tuple(overrides.items()), version(), file)
    options = CheckOptions(
        engine="native",
        symmetry=header.symmetry,
        states=args.states,
        seconds=args.time,
        memory=args.memory or default_memory(),
        threads=args.threads,
        seed=header.seed,
        max_traces=header.max_traces,
        witness=header.witness,
        expectations=not overrides,
        keep_c=args.keep_c,
        hash_bits=header.hash_bits,
        spill=args.spill,
        checkpoints=plan,
    )
    if not args.quiet:
        print(_going_on(header), file=sys.stderr)
    proofs = proofs_of([loaded], args, expectations=not overrides)
    return Work([loaded], partial(_resumed, saved), options, overrides, proofs)


def _resumed(
    saved: Saved, system: System, options: CheckOptions, progress: Callable[[Progress], None] | None
) -> InstanceReport:
    with closing(saved):
        try:
            return resume_native(system, options, saved, progress)
        except (Unusable, Foreign) as error:
            raise _refused(saved.path, error) from None


def _refused(path: Path, error: Unusable | Foreign) -> SpecError:
    if isinstance(error, Foreign):
        fix = "begin anew with 'hmmspec check', or bring back the spec, the parameters or the hmmspec that it is of"
        return mistake("HMM101", f"cannot go on from '{path}': {error}", fix)
    return mistake("HMM100", f"'{path}' is not a usable checkpoint: {error}")


def _spec_path(header: Header) -> str:
    """The spec as it was given, if that still leads there from here; else by its path from the root, if it is there."""
    given, absolute = Path(header.path), Path(header.absolute)
    return header.absolute if given.absolute() != absolute and absolute.exists() else header.path


def _going_on(header: Header) -> str:
    what = f"{header.spec}, instance {header.instance}"
    left = "only whole runs are left to judge" if header.searched else f"{header.expanded} of them expanded"
    return f"going on with {what}: {plural(header.states, 'state')}, {left}, after {seconds(header.seconds)}"
