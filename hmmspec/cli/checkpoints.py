"""What `check --checkpoint` asks for, and whether it can be had."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Mapping, Sequence

from hmmspec.checker.native.saving import forget
from hmmspec.checker.options import Checkpoints
from hmmspec.checker.verdict import InstanceReport
from hmmspec.cli.about import version
from hmmspec.cli.args import mistake
from hmmspec.diagnostics import Diagnostic, SpecError
from hmmspec.system.system import System


def checkpoints(args: argparse.Namespace, overrides: Mapping[str, str]) -> Checkpoints | None:
    """What `--checkpoint` asks for, None without it.  Raises SpecError where it does not fit the other options."""
    if args.checkpoint is None:
        if args.checkpoint_every is not None:
            raise mistake("HMM089", "--checkpoint-every is about checkpoints", "add --checkpoint DIR")
        return None
    if args.engine not in ("auto", "native"):
        told = f"--checkpoint is an option of the native engine: the engine '{args.engine}' writes no checkpoints"
        raise mistake("HMM089", told, f"leave out '--engine {args.engine}'")
    every = args.checkpoint_every or Checkpoints.every
    return Checkpoints(args.checkpoint, every, tuple(overrides.items()), version())


def refuse_to_overwrite(plan: Checkpoints, systems: Sequence[System]) -> None:
    """Raises SpecError where a checkpoint would take the place of one that somebody may want to go on from."""
    wrong: list[Diagnostic] = []
    owners: dict[str, System] = {}
    for system in systems:
        path = plan.path(system.name, system.instance)
        other = owners.setdefault(os.fspath(path), system)
        if other is not system:
            told = f"'{other.path}' and '{system.path}' would both be saved in '{path}'"
            wrong += mistake("HMM087", told, "check one after the other, or in different folders").diagnostics
        elif os.path.lexists(path):
            told = f"'{path}' is there already: the checkpoint of a search that is not over"
            fix = f"remove it, or go on from it: hmmspec resume {shlex.quote(os.fspath(path))}"
            wrong += mistake("HMM087", told, fix).diagnostics
    if wrong:
        raise SpecError(wrong)


def forget_all(plan: Checkpoints, reports: Sequence[InstanceReport]) -> None:
    """When everything is shown and written: the checkpoints of searches that are over go."""
    for report in reports:
        try:
            forget(plan, report)
        except OSError as error:
            path = plan.path(report.spec, report.instance)
            print(f"cannot remove '{path}', which is of no use any more: {error.strerror or error}", file=sys.stderr)
