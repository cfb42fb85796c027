"""What simulations took: tables, CSV, a plot, and the answer to whether migrating pays."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hmmspec.ref.cost.timeline import LANES, Lane
from hmmspec.ref.cost.units import show_rate, show_size, show_time
from hmmspec.ref.simulate.run import Answer, Outcome, answer
from hmmspec.report.plots import pyplot, save
from hmmspec.report.tables import Table, csv_text

_HEADS = ("policy", "time", "at best", "to device", "to system", "device faults", "cpu faults", "bandwidth")
_CSV = (
    "workload,link,policy,bytes,device_bytes,rounds,huge,time_ps,at_best_ps,to_device_bytes,to_system_bytes,migrated_bytes,"
    "device_faults,cpu_faults,useful_bytes,bytes_per_s,cpu_ps,bus_to_device_ps,bus_to_system_ps,device_ps"
)


def grouped(outcomes: Sequence[Outcome]) -> list[list[Outcome]]:
    """The outcomes of each workload on each machine, in the order in which they come."""
    found: dict[tuple[str, str], list[Outcome]] = {}
    for outcome in outcomes:
        found.setdefault((outcome.case.workload, outcome.machine.name), []).append(outcome)
    return list(found.values())


def group_text(outcomes: Sequence[Outcome], *, spent: bool = False) -> list[str]:
    """One workload on one machine; spent: with all that was charged, by kind."""
    first = outcomes[0]
    case = first.case
    memory = show_size(case.device_pages * 4096)
    lines = [f"{case.workload} over {first.machine.name} ({first.machine.link})"]
    lines.append(f"  {show_size(case.size)}, {_rounds(case.rounds)}, device memory {memory}")
    lines += Table(_HEADS, tuple(_row(o) for o in outcomes), frozenset(range(1, 8))).text("  ")
    if spent:
        for outcome in outcomes:
            lines += ["", f"  {outcome.case.policy}: where the time went", *spent_table(outcome).text("    ")]
    found = answer(outcomes)
    if found is not None:
        lines.append(f"  {answer_text(found)}")
    return lines


def answer_text(found: Answer) -> str:
    """One sentence: whether migrating pays, by how much, and from how many rounds on."""
    moving, staying = found.moving.case, found.staying.case
    pair = f"'{moving.policy}' takes {show_time(found.moving.ps)}, '{staying.policy}' {show_time(found.staying.ps)}"
    if found.pays:
        gain = float(found.gain)
        told = f"Migrating pays: {pair}, {gain:.1f} times as long"
        return f"{told}; it pays from {_rounds(found.rounds or 1)} on."
    told = f"Migrating does not pay: {pair}"
    if found.rounds is None:
        return f"{told}; more rounds would not change that."
    return f"{told}; it would pay from {_rounds(found.rounds)} on."


def spent_table(outcome: Outcome) -> Table:
    """All charges by kind."""
    whole = max(outcome.ps, 1)
    rows = [
        (kind.value, str(t.events), show_size(t.size) if t.size else "", show_time(t.ps), f"{100 * t.ps / whole:.1f} %")
        for kind, t in outcome.totals.items()
    ]
    return Table(("what", "events", "bytes", "time", "part"), tuple(rows), frozenset({1, 2, 3, 4}))


def simulated_csv(outcomes: Sequence[Outcome]) -> str:
    """One row for each outcome, in bytes and picoseconds."""
    rows = []
    for o in outcomes:
        busy = o.lanes
        lanes = (busy[lane] for lane in (Lane.CPU, Lane.TO_DEVICE, Lane.TO_SYSTEM, Lane.DEVICE))
        case = o.case
        told = (case.workload, o.machine.name, case.policy, case.size, case.device_pages * 4096, case.rounds)
        bytes_ = (o.to_device, o.to_system, o.migrated)
        faults = (o.device_faults, o.cpu_faults)
        whole = (*told, int(case.huge), o.ps, o.best_ps, *bytes_, *faults, o.made.useful, int(o.rate), *lanes)
        rows.append(whole)
    return csv_text(_CSV.split(","), rows)


def timeline_csv(outcome: Outcome) -> str:
    """Every charge of one run in order: when it began, how long it took, what was busy with what."""
    heads = ("at_ps", "ps", "busy", "what", "count", "bytes", "times")
    rows = [
        (e.at, e.ps, LANES.get(e.kind, Lane.CPU).value, e.kind.value, e.count, e.size, e.times)
        for e in outcome.entries()
    ]
    return csv_text(heads, rows)


def summary_text(groups: Sequence[Sequence[Outcome]]) -> list[str]:
    """One line for each workload and machine: who is faster, and from how many rounds on migrating pays."""
    rows = []
    for group in groups:
        found = answer(group)
        if found is None:
            continue
        case = group[0].case
        rounds = "never" if found.rounds is None else _rounds(found.rounds)
        moving, staying = found.moving.case.policy, found.staying.case.policy
        gain = f"{float(found.gain):.2f}"
        rows.append(
            (case.workload, group[0].machine.name, moving, staying, gain, "yes" if found.pays else "no", rounds)
        )
    if len(rows) < 2:
        return []
    heads = ("workload", "link", "migrating", "staying", "gain", "pays", "pays from")
    return ["When does migrating pay?", *Table(heads, tuple(rows), frozenset({4})).text("  ")]


def plot_simulated(outcomes: Sequence[Outcome], path: Path) -> None:
    """A panel for each machine: the time of each workload under each policy.  Raises SpecError."""
    plt = pyplot()
    machines = list(dict.fromkeys(o.machine.name for o in outcomes))
    workloads = list(dict.fromkeys(o.case.workload for o in outcomes))
    policies = list(dict.fromkeys(o.case.policy for o in outcomes))
    size = (max(6.0, 1.4 * len(workloads) + 2), 3.2 * len(machines) + 0.8)
    figure, panels = plt.subplots(len(machines), 1, figsize=size, squeeze=False, sharex=True, sharey=True)
    wide = 0.8 / len(policies)
    for axes, machine in zip(panels[:, 0], machines, strict=True):
        for k, policy in enumerate(policies):
            mine = [o for o in outcomes if o.machine.name == machine and o.case.policy == policy]
            at = [workloads.index(o.case.workload) + (k - (len(policies) - 1) / 2) * wide for o in mine]
            axes.bar(at, [o.ps / 1e9 for o in mine], wide, label=policy, color=f"C{k % 10}")
        axes.set_yscale("log")
        axes.set_ylabel("ms")
        axes.set_title(machine)
        axes.grid(visible=True, axis="y", alpha=0.3)
    panels[0, 0].legend(fontsize="small", ncols=len(policies))
    panels[-1, 0].set_xticks(range(len(workloads)), workloads)
    figure.tight_layout()
    save(figure, path)
    plt.close(figure)


def _row(o: Outcome) -> tuple[str, ...]:
    bytes_ = show_size(o.to_device), show_size(o.to_system)
    times = show_time(o.ps), show_time(o.best_ps)
    return o.case.policy, *times, *bytes_, str(o.device_faults), str(o.cpu_faults), show_rate(o.rate)


def _rounds(number: int) -> str:
    return f"{number} round" if number == 1 else f"{number} rounds"
