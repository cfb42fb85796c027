"""Plots, where matplotlib is installed: `pip install "hmmspec[plot]"`."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from hmmspec.diagnostics import NOWHERE, Diagnostic, SpecError
from hmmspec.ref.cost.fit import Fit
from hmmspec.ref.cost.measured import Point
from hmmspec.ref.cost.units import GB, S

SUFFIXES = (".png", ".svg", ".pdf")


def pyplot() -> Any:
    """matplotlib's, drawing to files only.  Raises SpecError (HMM145) where it is not installed."""
    try:
        import_module("matplotlib").use("Agg")
        return import_module("matplotlib.pyplot")
    except ImportError:
        told, fix = "a plot needs matplotlib, which is not installed", 'pip install "hmmspec[plot]"'
        raise SpecError([Diagnostic("HMM145", told, NOWHERE, fix=fix)]) from None


def plot_fits(fits: Sequence[Fit], path: Path) -> None:
    """Rate by size, points and curve of each series; below it the error of each point.  Raises SpecError."""
    plt = pyplot()
    figure, (above, below) = plt.subplots(2, 1, figsize=(9, 7), height_ratios=(3, 1), sharex=True)
    for k, fit in enumerate(fits):
        points = [j.point for j in (*fit.judged, *fit.chosen)]
        colour = f"C{k % 10}"
        above.plot([p.size for p in points], [_rate(p, p.ps) for p in points], "o", color=colour, label=fit.series.name)
        curve = _curve(points)
        above.plot([p.size for p in curve], [_rate(p, fit.constants.predict(p)) for p in curve], color=colour)
        judged = (*fit.judged, *fit.chosen)
        below.plot([j.point.size for j in judged], [100 * j.error for j in judged], "o", color=colour, markersize=4)
    above.set_xscale("log", base=2)
    above.set_yscale("log")
    above.set_ylabel("GB/s")
    above.set_title("measured (points) and fitted (lines)")
    above.legend(fontsize="small")
    below.axhline(0, color="grey", linewidth=0.8)
    below.set_ylabel("error, %")
    below.set_xlabel("bytes")
    for axes in (above, below):
        axes.grid(visible=True, alpha=0.3)
    figure.tight_layout()
    save(figure, path)
    plt.close(figure)


def save(figure: Any, path: Path) -> None:
    """Write a figure.  Raises SpecError (HMM087) where that cannot be done."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=120)
    except OSError as error:
        told = f"cannot write '{path}': {error.strerror or error}"
        raise SpecError([Diagnostic("HMM087", told, NOWHERE)]) from None


def _rate(point: Point, ps: int) -> float:
    return point.size * S / ps / GB


def _curve(points: Sequence[Point]) -> list[Point]:
    """Points for the line: where only sizes differ, many of them; else those that were measured."""
    first = points[0]
    if any(p.what[1:] != first.what[1:] for p in points):
        return list(points)
    low, high = min(p.size for p in points), max(p.size for p in points)
    steps = 60
    sizes = sorted({round(low * (high / low) ** (k / steps)) for k in range(steps + 1)})
    return [Point(size, 0, *first.what[1:]) for size in sizes]
