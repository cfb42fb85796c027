"""`hmmspec scenario FILE...`: do this, expect that, on a target."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from hmmspec.cli.about import version
from hmmspec.cli.args import Parser, count, mistake, params
from hmmspec.conform.scenario.expand import VARIANTS, Choice, plans, unknown_param
from hmmspec.conform.scenario.parser import parse
from hmmspec.conform.scenario.plan import Plan
from hmmspec.conform.scenario.report import exit_code, plan_lines, summary, to_plain
from hmmspec.conform.scenario.runner import PlanReport, facts_of, run_plan
from hmmspec.conform.scenario.syntax import ScenarioFile
from hmmspec.conform.target import CAPABILITIES, Target
from hmmspec.conform.targets import NoTarget, open_target
from hmmspec.diagnostics import Diagnostic, SpecError, did_you_mean
from hmmspec.lang.load import read_source
from hmmspec.ref.profile import BEHAVIOURS
from hmmspec.report.style import style_for


def parser() -> Parser:
    """The options of `scenario`."""
    p = Parser(
        "scenario",
        "Run scenarios, 'do this, expect that', on a target. docs/scenarios.md tells their format.",
        "exit codes: 0 all that could run went as expected; 1 something went otherwise;\n"
        "2 a file or the command line is wrong; 3 nothing could run on this target; 130 interrupted",
    )
    p.add_argument("files", nargs="*", metavar="FILE", help="a .scn file, or a folder: all .scn files in it")
    p.add_argument("--target", default="ref", metavar="NAME", help="what to run them on (default: ref)")
    p.add_argument("--profile", default="", metavar="NAME", help="which kernel 'ref' is: 6.12, latest (the default)")
    p.add_argument("--variant", choices=VARIANTS, default="", help="one kind of device memory only")
    p.add_argument("--only", action="append", default=[], metavar="NAME", help="this scenario only (repeatable)")
    p.add_argument(
        "-p", dest="params", action="append", default=[], metavar="NAME=N", help="set a parameter (repeatable)"
    )
    p.add_argument("--seed", type=int, default=0, metavar="N", help="the first seed of races (default: 0)")
    p.add_argument(
        "--seeds", type=count, metavar="N", help="run each race with so many seeds (default: as it says, or 10)"
    )
    p.add_argument(
        "--image", default="", metavar="IMAGE", help="with --target linux: the kernel image, a folder or a hash"
    )
    kernel = p.add_argument_group("the reference kernel")
    kernel.add_argument("--driver", choices=("stepped", "bulk"), default="stepped", help="default: stepped")
    kernel.add_argument("--defect", action="append", default=[], metavar="NAME", help="switch on a seeded defect")
    kernel.add_argument(
        "--checks", action=argparse.BooleanOptionalAction, default=True, help="the kernel's own debug checks"
    )
    told = p.add_argument_group("what to show")
    told.add_argument("--list", action="store_true", help="name the scenarios and what would run, and run nothing")
    told.add_argument("--behaviours", action="store_true", help="the behaviours that 'needs' and 'if' can ask for")
    told.add_argument("--quiet", action="store_true", help="only what failed, and the last line")
    told.add_argument("--json", action="store_true", help="one JSON document on standard output (docs/scenarios.md)")
    return p


def run(args: argparse.Namespace) -> int:
    """Read all files, run all plans.  Raises SpecError when the input is wrong: then nothing ran."""
    if args.behaviours:
        print(behaviours())
        return 0
    if not args.files:
        raise mistake("HMM089", "the following arguments are required: FILE", "see 'hmmspec scenario --help'")
    files = _read(_paths(args.files))
    chosen = {name: _number(name, value) for name, value in params(args.params).items()}
    for name in chosen:
        if (fix := unknown_param(name, files)) is not None:
            raise mistake("HMM129", f"no scenario has a parameter '{name}'", fix)
    names = [scenario.name for file in files for scenario in file.scenarios]
    for name in args.only:
        if name not in names:
            raise mistake("HMM129", f"there is no scenario '{name}'", did_you_mean(name, names) or "see --list")
    with _target(args) as target:
        todo = _plans(files, target, args, Choice(args.variant, chosen, args.seeds))
        if args.list:
            _list(todo)
            return 0
        return _run(todo, target, args)


def behaviours() -> str:
    """What can be asked of a target, with what it means."""
    lines = ["behaviours, in which kernels differ:"]
    lines += [f"  {name:<34} {told}" for name, (told, _) in BEHAVIOURS.items()]
    lines += ["", "capabilities of targets (a scenario that uses one needs it without saying so):"]
    return "\n".join(lines + [f"  {name:<34} {told}" for name, told in CAPABILITIES.items()])


def _paths(names: Sequence[str]) -> list[str]:
    out: list[str] = []
    for name in names:
        if Path(name).is_dir():
            found = sorted(str(p) for p in Path(name).glob("*.scn"))
            if not found:
                raise mistake("HMM080", f"there is no .scn file in '{name}'")
            out += found
        else:
            out.append(name)
    return out


def _read(paths: Sequence[str]) -> list[ScenarioFile]:
    files: list[ScenarioFile] = []
    wrong: list[Diagnostic] = []
    for path in paths:
        try:
            files.append(parse(read_source(path)))
        except SpecError as error:
            wrong += error.diagnostics
    if wrong:
        raise SpecError(wrong)
    return files


def _number(name: str, text: str) -> int:
    try:
        return int(text.replace("_", ""), 0)
    except ValueError:
        raise mistake("HMM129", f"the parameter {name} is a number, not '{text}'") from None


def _target(args: argparse.Namespace) -> Target:
    options = {name: getattr(args, name) for name in ("profile", "driver", "defect", "checks", "image")}
    try:
        # Scenarios have buffers of their own size: room for all that one could want.
        return open_target(args.target, {**options, "size": "large"})
    except NoTarget as error:
        raise mistake("HMM129", str(error)) from None


def _plans(files: Sequence[ScenarioFile], target: Target, args: argparse.Namespace, choice: Choice) -> list[Plan]:
    out: list[Plan] = []
    wrong: list[Diagnostic] = []
    facts = facts_of(target)
    for file in files:
        for scenario in file.scenarios:
            if args.only and scenario.name not in args.only:
                continue
            try:
                out += plans(file, scenario, facts, choice)
            except SpecError as error:
                wrong += error.diagnostics
    if wrong:
        raise SpecError(wrong)
    return out


def _list(todo: Sequence[Plan]) -> None:
    path = ""
    for plan in todo:
        if plan.scenario.span.path != path:
            path = plan.scenario.span.path
            print(path)
        runs = f" ({plan.seeds} runs)" if plan.seeds > 1 else ""
        print(f"  {plan.title}{runs}" + (f": skipped, {plan.skipped}" if plan.skipped else f": {plan.scenario.title}"))


def _run(todo: Sequence[Plan], target: Target, args: argparse.Namespace) -> int:
    style = style_for(sys.stdout)
    reports: list[PlanReport] = []
    path = ""
    for plan in todo:
        report = run_plan(plan, target, args.seed)
        reports.append(report)
        if args.json or (args.quiet and report.status != "failed"):
            continue
        if plan.scenario.span.path != path:
            path = plan.scenario.span.path
            print(path)
        print("\n".join(plan_lines(report, style, _again(report, args))), flush=True)
    if args.json:
        print(json.dumps(to_plain(reports, target, args.seed, version()), indent=2, ensure_ascii=False))
    else:
        print(summary(reports, style))
    return exit_code(reports)


def _again(report: PlanReport, args: argparse.Namespace) -> str:
    """The command that runs one failing run again."""
    plan = report.plan
    parts = ["hmmspec scenario", plan.scenario.span.path, "--only", plan.scenario.name]
    parts += ["--target", args.target] if args.target != "ref" else []
    parts += ["--profile", args.profile] if args.profile else []
    parts += ["--image", args.image] if args.image else []
    parts += ["--variant", plan.variant] if plan.variant else []
    parts += ["--driver", args.driver] if args.driver != "stepped" else []
    parts += [f"--defect {name}" for name in args.defect] + ([] if args.checks else ["--no-checks"])
    parts += [f"-p {name}={value}" for name, value in plan.shown.items()]
    parts += ["--seed", str(report.seed), "--seeds 1"] if plan.seeds > 1 else []
    return " ".join(parts)
