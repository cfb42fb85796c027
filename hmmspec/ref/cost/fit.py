"""Constants from measurements, by least squares.

`T = calls x call + pages x page + runs x run + huge pages x huge + bytes / rate`.

Errors are relative (a copy of 4 KiB counts as much as one of 1 GiB), and no constant is negative.  A PMD-mapped page
has one constant for all of it, copy included: its bytes are not in the last term.

NOTE(fitted): with more points than constants, each point in turn is left out and predicted from the others: that says
what the constants are worth.  With as many points as constants, or fewer, the constants reproduce the points and
predict nothing: such a fit is called *fitted*, never *predicted*.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations

import numpy as np
import numpy.typing as npt

from hmmspec.ref.cost.measured import Point, Series
from hmmspec.ref.cost.units import PMD, Impossible, S

Vector = npt.NDArray[np.float64]

# Constant -> how much of it a point has.
TERMS: dict[str, Callable[[Point], int]] = {
    "call": lambda p: 1 if p.calls is None else p.calls,
    "page": lambda p: p.pages or 0,
    "run": lambda p: p.runs or 0,
    "huge": lambda p: p.huge or 0,
    "byte": lambda p: p.size - (p.huge or 0) * PMD,
}


@dataclass(frozen=True)
class Constants:
    """What was found: picoseconds each, and bytes a second.  None: the points do not have it."""

    call_ps: int | None = None
    page_ps: int | None = None
    run_ps: int | None = None
    huge_ps: int | None = None
    rate: int | None = None

    def predict(self, point: Point) -> int:
        """Picoseconds."""
        each = {"call": self.call_ps, "page": self.page_ps, "run": self.run_ps, "huge": self.huge_ps}
        ps = sum((cost or 0) * TERMS[name](point) for name, cost in each.items())
        size = TERMS["byte"](point)
        return ps + (-(-size * S // self.rate) if self.rate else 0)

    @property
    def half_size(self) -> int | None:
        """The bytes at which half of the rate is reached."""
        return int(Fraction(self.call_ps * self.rate, S)) if self.rate and self.call_ps is not None else None


@dataclass(frozen=True)
class Judged:
    """A point and what it is predicted to take.

    fitted_ps: by constants that this point helped to find; held_out_ps: by constants found without it, or None where
    the others do not give them.
    """

    point: Point
    fitted_ps: int
    held_out_ps: int | None

    @property
    def error(self) -> float:
        """Relative: of the prediction without the point where there is one."""
        ps = self.fitted_ps if self.held_out_ps is None else self.held_out_ps
        return ps / self.point.ps - 1


@dataclass(frozen=True)
class Fit:
    """One series explained.

    dropped: constants that its points cannot tell apart from the others; chosen: the points that were held out by
    request, and are no part of any fit.
    """

    series: Series
    constants: Constants
    terms: tuple[str, ...]
    judged: tuple[Judged, ...]
    dropped: tuple[str, ...] = ()
    chosen: tuple[Judged, ...] = ()

    @property
    def predicted(self) -> bool:
        """Whether there are more points than constants, so that something was predicted at all."""
        return any(j.held_out_ps is not None for j in (*self.judged, *self.chosen))

    @property
    def worst(self) -> float:
        """The largest error, without its sign: of held-out predictions if there are any."""
        told = [j for j in (*self.judged, *self.chosen) if j.held_out_ps is not None]
        return max(abs(j.error) for j in told or self.judged)


def fit_series(series: Series, hold_out: Sequence[int] = ()) -> Fit:
    """Fit one series; points whose size is in `hold_out` are predicted and not used.

    Raises Impossible (HMM143) where no constants that are not negative explain the points at all.
    """
    points = series.distinct()
    used = [p for p in points if p.size not in hold_out]
    if not used:
        raise Impossible("HMM143", f"{series.name}: all points are held out: nothing is left to fit")
    wanted = _terms(points)
    terms = _determined(used, wanted)
    constants = _constants(used, terms, series.name)
    judged = [Judged(p, constants.predict(p), _without(used, k, terms)) for k, p in enumerate(used)]
    chosen = [Judged(p, ps := constants.predict(p), ps) for p in points if p.size in hold_out]
    dropped = tuple(t for t in wanted if t not in terms)
    return Fit(series, constants, terms, tuple(judged), dropped, tuple(chosen))


def _terms(points: Sequence[Point]) -> tuple[str, ...]:
    """The constants that these points speak of: `call` where the file counts calls or counts nothing."""
    counted = any(p.pages is not None for p in points)
    has_calls = any(p.calls is not None for p in points) or not counted
    there = [t for t in TERMS if any(TERMS[t](p) for p in points)]
    return tuple(t for t in there if t != "call" or has_calls)


def _matrix(points: Sequence[Point], terms: Sequence[str]) -> Vector:
    """A row for each point, weighted with its time: what is to be explained is then 1 in every row."""
    return np.array([[TERMS[t](p) / p.ps for t in terms] for p in points], dtype=np.float64)


def _rank(points: Sequence[Point], terms: Sequence[str]) -> int:
    matrix = _matrix(points, terms)
    scale = np.abs(matrix).max(axis=0)
    if not scale.all():
        return 0
    return int(np.linalg.matrix_rank(matrix / scale, tol=1e-9))


def _determined(points: Sequence[Point], terms: tuple[str, ...]) -> tuple[str, ...]:
    """The most terms that the points tell apart; rates before pages, pages before runs and calls."""
    order = [t for t in ("byte", "huge", "page", "run", "call") if t in terms]
    kept: list[str] = []
    for term in order:
        if _rank(points, [*kept, term]) == len(kept) + 1:
            kept.append(term)
    return tuple(t for t in terms if t in kept)


def _solve(points: Sequence[Point], terms: tuple[str, ...]) -> dict[str, float]:
    """Non-negative least squares, by trying which terms are 0: there are five at most."""
    best: tuple[float, dict[str, float]] | None = None
    for many in range(len(terms), 0, -1):
        for some in combinations(terms, many):
            if _rank(points, some) < many:
                continue
            matrix = _matrix(points, some)
            scale = np.abs(matrix).max(axis=0)
            found = np.linalg.lstsq(matrix / scale, np.ones(len(points)), rcond=None)[0] / scale
            if (found < 0).any():
                continue
            wrong = float(((matrix @ found - 1) ** 2).sum())
            if best is None or wrong < best[0] - 1e-15:
                best = wrong, dict(zip(some, map(float, found), strict=True))
    return {} if best is None else best[1]


def _constants(points: Sequence[Point], terms: tuple[str, ...], name: str) -> Constants:
    found = _solve(points, terms)
    byte = found.get("byte", 0.0)
    if "byte" in terms and byte <= 0:
        told = f"{name}: these times do not grow with the size: no bandwidth explains them"
        raise Impossible("HMM143", told, "are bytes and times in the columns that say so?")
    each = {f"{t}_ps": round(found.get(t, 0.0)) for t in terms if t != "byte"}
    return Constants(**each, rate=max(1, round(S / byte)) if byte else None)


def _without(points: Sequence[Point], left_out: int, terms: tuple[str, ...]) -> int | None:
    """What the other points say this one takes; None where they do not determine the same constants."""
    others = [p for k, p in enumerate(points) if k != left_out]
    if len(points) <= len(terms) or _rank(others, terms) < len(terms):
        return None
    try:
        return _constants(others, terms, "").predict(points[left_out])
    except Impossible:
        return None
