"""`hmmspec simulate`: workloads on the reference kernel, under policies, over links: when does migrating pay?"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

from hmmspec.cli.args import Parser, count, from_zero, mistake
from hmmspec.cli.cost import check_plot
from hmmspec.cli.files import check_writable, write_whole
from hmmspec.cli.machines import add_link_options, machine_of, possible
from hmmspec.diagnostics import Diagnostic, SpecError, did_you_mean
from hmmspec.ref.cost.units import read_size
from hmmspec.ref.simulate.policies import POLICIES
from hmmspec.ref.simulate.run import Case, Outcome, simulate
from hmmspec.ref.simulate.workloads import WORKLOADS
from hmmspec.report.plots import pyplot
from hmmspec.report.simulated import group_text, grouped, plot_simulated, simulated_csv, summary_text, timeline_csv


def parser() -> Parser:
    """The options of `simulate`."""
    listed = [f"  {name:<15} {w.told}" for name, w in WORKLOADS.items()]
    ways = [f"  {name:<15} {told}" for name, (told, _) in POLICIES.items()]
    p = Parser(
        "simulate",
        "Run workloads on the reference kernel and say what they take: time, bytes over the link,\n"
        "faults, bandwidth; and whether migrating pays.",
        "\n".join(["workloads:", *listed, "", "policies:", *ways]),
    )
    p.add_argument("workloads", nargs="*", metavar="WORKLOAD", help="which (default: all)")
    p.add_argument("--policy", default=",".join(POLICIES), metavar="LIST", help="which policies (all)")
    p.add_argument("--link", default="pcie4", metavar="LIST", help="machines: presets or .json files (pcie4)")
    p.add_argument("--size", default="16M", metavar="SIZE", help="of the array (16M)")
    p.add_argument("--rounds", type=count, default=4, metavar="N", help="how often the workload is repeated (4)")
    p.add_argument("--memory", metavar="SIZE", help="of the device (twice the array; oversubscribed: two thirds)")
    p.add_argument("--around", default="64K", metavar="SIZE", help="what a device fault brings, 4K to 2M (64K)")
    p.add_argument("--huge", action="store_true", help="the array is of PMD-size pages")
    p.add_argument("--seed", type=from_zero, default=0, metavar="N", help="of what is random (0)")
    p.add_argument("--spent", action="store_true", help="where the time went, by kind")
    p.add_argument("--timeline", type=Path, metavar="FILE", help="every charge of one run in order, as CSV")
    p.add_argument("--csv", action="store_true", help="in bytes and picoseconds")
    p.add_argument("--plot", type=Path, metavar="FILE", help="times by workload and policy, as .png, .svg or .pdf")
    add_link_options(p)
    return p


def run(args: argparse.Namespace) -> int:
    """Simulate and report.  Raises SpecError."""
    check_plot(args.plot)
    if args.plot is not None:
        pyplot()  # before any work: whether there is one
    workloads = _chosen("workload", list(args.workloads) or list(WORKLOADS), WORKLOADS)
    policies = _chosen("policy", args.policy.split(","), POLICIES)
    machines = [machine_of(name, args) for name in dict.fromkeys(args.link.split(","))]
    size, around = (possible(lambda text=text: read_size(text)) for text in (args.size, args.around))  # type: ignore[misc]
    memory = None if args.memory is None else possible(lambda: read_size(args.memory))
    cases = [
        [
            possible(lambda w=w, p=p: Case(w, p, size, args.rounds, memory, around, args.seed, args.huge))  # type: ignore[misc]
            for p in policies
        ]
        for w in workloads
    ]
    if args.timeline is not None:
        check_writable(args.timeline)
        if len(workloads) * len(policies) * len(machines) != 1:
            raise mistake("HMM089", "--timeline is about one run: name one workload, one --policy, one --link")
    outcomes: list[Outcome] = []
    for of_workload in cases:
        found = list(simulate(of_workload, machines, keep=args.timeline is not None))
        outcomes += found
        if not args.csv:
            for group in grouped(found):
                print("\n".join(group_text(group, spent=args.spent)), end="\n\n", flush=True)
    if args.csv:
        print(simulated_csv(outcomes), end="")
    elif summary := summary_text(grouped(outcomes)):
        print("\n".join(summary))
    if args.timeline is not None:
        write_whole(args.timeline, timeline_csv(outcomes[0]))
    if args.plot is not None:
        plot_simulated(outcomes, args.plot)
    return 0


def _chosen(what: str, names: list[str], known: Mapping[str, object]) -> list[str]:
    """The names, each once.  Raises SpecError with every one that is not known."""
    wrong: list[Diagnostic] = []
    for name in names:
        if name not in known:
            fix = did_you_mean(name, known) or f"there are {', '.join(known)}"
            wrong += mistake("HMM088", f"there is no {what} '{name}'", fix).diagnostics
    if wrong:
        raise SpecError(wrong)
    return list(dict.fromkeys(names))
