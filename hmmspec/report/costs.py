"""The cost model as tables: what was measured beside what is predicted, a link by transfer size, fits."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from hmmspec.ref.cost.evidence import Group, Row
from hmmspec.ref.cost.fit import Fit, Judged
from hmmspec.ref.cost.link import PcieLink, RateLink
from hmmspec.ref.cost.units import S, show_rate, show_size, show_time
from hmmspec.report.phrases import plural
from hmmspec.report.tables import Table, csv_text

LINK_HEADS = ("transfer", "to device", "to system", "both, each way", "time to device", "time to system")


def evidence_text(groups: Sequence[Group]) -> str:
    """For a terminal; sources are in the Markdown and CSV forms."""
    lines: list[str] = []
    for group in groups:
        lines += [group.title, *_table(group, sources=False).text("  "), ""]
    return "\n".join([*lines, verdict(groups)]) + "\n"


def evidence_markdown(groups: Sequence[Group]) -> str:
    """As it stands in docs/cost.md."""
    lines: list[str] = []
    for group in groups:
        lines += [f"### {group.title}", "", *_table(group, sources=True).markdown(), ""]
        lines += [f"- {row.what}: {row.remark}." for row in group.rows if row.remark]
        if lines[-1]:
            lines.append("")
    return "\n".join([*lines, verdict(groups)]) + "\n"


def updated(page: str, groups: Sequence[Group]) -> str | None:
    """A document with the table between its two marks made anew; None if it has no such marks."""
    begin, end = "<!-- begin: hmmspec cost table -->\n", "<!-- end -->"
    start = page.find(begin)
    stop = page.find(end, start)
    if start < 0 or stop < 0:
        return None
    return f"{page[: start + len(begin)]}\n{evidence_markdown(groups)}\n{page[stop:]}"


def evidence_csv(groups: Sequence[Group]) -> str:
    """One row for each figure."""
    heads = (
        "group",
        "what",
        "source",
        "unit",
        "measured",
        "predicted",
        "error",
        "how",
        "allowed",
        "low",
        "high",
        "fine",
    )
    rows = [
        (
            g.title,
            r.what,
            r.source,
            r.unit,
            _exact(r.measured),
            _exact(r.predicted),
            _exact(r.error),
            r.how,
            _exact(r.allowed),
            None if r.low is None else _exact(r.low),
            None if r.high is None else _exact(r.high),
            str(r.fine).lower(),
        )
        for g in groups
        for r in g.rows
    ]
    return csv_text(heads, rows)


def verdict(groups: Sequence[Group]) -> str:
    """One line: how many figures are as they should be."""
    rows = [row for group in groups for row in group.rows]
    judged = [row for row in rows if row.how != "not modelled"]
    fine = sum(row.fine for row in judged)
    left = len(rows) - len(judged)
    kinds = {how: sum(r.how == how for r in judged) for how in dict.fromkeys(r.how for r in judged)}
    listed = ", ".join(f"{count} {how}" for how, count in kinds.items())
    return f"{fine} of {len(judged)} figures are within what is allowed ({listed}); {left} are known to be missed."


def link_table(link: PcieLink | RateLink, sizes: Sequence[int]) -> Table:
    """Rates and times of transfers one after the other."""
    rows = []
    for size in sizes:
        there, back = link.to_device_ps(size), link.to_system_ps(size)
        rates = [_stream(link, size, "device"), _stream(link, size, "system"), _stream(link, size, "both")]
        shown = [show_rate(rate, 3) for rate in rates]
        rows.append((show_size(size), *shown, show_time(there), show_time(back)))
    return Table(LINK_HEADS, tuple(rows), frozenset(range(6)))


def link_csv(link: PcieLink | RateLink, sizes: Sequence[int]) -> str:
    """The same in bytes, bytes a second and picoseconds."""
    heads = ("bytes", "to_device_b_per_s", "to_system_b_per_s", "both_b_per_s", "to_device_ps", "to_system_ps")
    rows = [
        (
            size,
            *(int(_stream(link, size, way)) for way in ("device", "system", "both")),
            link.to_device_ps(size),
            link.to_system_ps(size),
        )
        for size in sizes
    ]
    return csv_text(heads, rows)


def _stream(link: PcieLink | RateLink, size: int, way: str) -> Fraction:
    if isinstance(link, PcieLink):
        rates = {"device": link.read_rate, "system": link.write_rate, "both": link.both_rate}
        return rates[way](size)
    times = {"device": link.to_device_ps(size), "system": link.to_system_ps(size), "both": link.both_ps(size, size)}
    return Fraction(size * S, times[way])


def fit_text(fit: Fit) -> list[str]:
    """One series: its constants, and each point with what the others say of it."""
    kind = "predicted" if fit.predicted else "fitted"
    lines = [f"{fit.series.name}: {plural(len(fit.judged), 'point')}"]
    lines += [f"  {line}" for line in constants_lines(fit)]
    lines += [f"  not told apart by these points: {', '.join(fit.dropped)}"] if fit.dropped else []
    lines += fit_table(fit).text("  ")
    if kind == "predicted":
        lines.append(f"  worst error of a point that was held out: {fit.worst:.1%}")
    else:
        told = "as many constants as points, or more: they are reproduced, and nothing is predicted"
        lines.append(f"  fitted: {told} (worst error {fit.worst:.1%})")
    return lines


def constants_lines(fit: Fit) -> list[str]:
    """The constants in words."""
    c = fit.constants
    words = {"call": c.call_ps, "page": c.page_ps, "run": c.run_ps, "PMD-size page, its copy included": c.huge_ps}
    lines = [f"each {what}: {show_time(ps)}" for what, ps in words.items() if ps is not None]
    if c.rate is not None:
        lines.append(f"bandwidth: {show_rate(c.rate)}")
    if c.half_size:
        lines.append(f"half of it at {show_size(c.half_size)}")
    return lines


def fit_table(fit: Fit) -> Table:
    """Each point; `how` says whether the prediction knew it."""
    rows = [_point(j, "held out" if j.held_out_ps is not None else "fitted") for j in fit.judged]
    rows += [_point(j, "never used") for j in fit.chosen]
    return Table(("bytes", "measured", "predicted", "error", "how"), tuple(rows), frozenset({0, 1, 2, 3}))


def fit_csv(fits: Sequence[Fit]) -> str:
    """Every point of every series."""
    heads = ("series", "bytes", "measured_ps", "fitted_ps", "held_out_ps", "error", "how")
    rows = []
    for fit in fits:
        for chosen, judged in [(False, j) for j in fit.judged] + [(True, j) for j in fit.chosen]:
            how = "never used" if chosen else "held out" if judged.held_out_ps is not None else "fitted"
            row = (judged.point.size, judged.point.ps, judged.fitted_ps, judged.held_out_ps)
            rows.append((fit.series.name, *row, f"{judged.error:.6f}", how))
    return csv_text(heads, rows)


def _point(judged: Judged, how: str) -> tuple[str, ...]:
    ps = judged.fitted_ps if judged.held_out_ps is None else judged.held_out_ps
    return show_size(judged.point.size), show_time(judged.point.ps), show_time(ps), f"{judged.error:+.1%}", how


def _table(group: Group, *, sources: bool) -> Table:
    rows = []
    for row in group.rows:
        told = (row.what, row.source) if sources else (row.what,)
        rows.append((*told, _number(row.measured, row.unit), _predicted(row), _percent(row.error), _how(row)))
    heads = ("what", "source", "measured", "predicted", "error", "how")
    first = 2 if sources else 1
    return Table(heads if sources else (heads[0], *heads[2:]), tuple(rows), frozenset(range(first, first + 3)))


def _percent(value: Fraction) -> str:
    text = f"{float(value):+.2%}"
    return "0.00%" if text in ("+0.00%", "-0.00%") else text


def _predicted(row: Row) -> str:
    text = _number(row.predicted, row.unit)
    if row.low is not None and row.high is not None:
        text += f" ({float(row.low):.4g} to {float(row.high):.4g})"
    return text


def _how(row: Row) -> str:
    return row.how if row.fine else f"{row.how}: WRONG"


def _number(value: Fraction, unit: str) -> str:
    return f"{float(value):.5g} {unit}"


def _exact(value: Fraction) -> str:
    return f"{float(value):.9g}"
