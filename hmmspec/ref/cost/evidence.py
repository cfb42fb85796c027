"""The model beside what others measured: each figure with its source, the prediction, its error and what was allowed.

NOTE(kinds-of-evidence): *formula*: the published formula gives the published number; *band*: a measurement lies between
two settings of the formula; *predicted*: by constants that were found without this figure; *fitted*: by constants that
this figure helped to find, which is no evidence that they are right elsewhere; *not modelled*: the model is known to
miss it, and the reason is told.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from hmmspec.diagnostics import Source
from hmmspec.ref.cost import published as pub
from hmmspec.ref.cost.faults import FaultCosts
from hmmspec.ref.cost.fit import Fit, fit_series
from hmmspec.ref.cost.link import PcieLink, dllp_band
from hmmspec.ref.cost.machine import Requests
from hmmspec.ref.cost.measured import read_csv
from hmmspec.ref.cost.presets import (
    PASCAL_COPY,
    PASCAL_ENGINE,
    YAN_2017,
    isolated_fault_ps,
    touched_on_demand_ps,
    xe_range_ps,
)
from hmmspec.ref.cost.units import GB, GIB, KIB, MIB, MS, PMD, US, S


@dataclass(frozen=True)
class Row:
    """One figure.  how: see NOTE(kinds-of-evidence); allowed: the largest error, relative; remark: why, if it is odd.

    For a band `low` and `high` say between what the figure must lie; `predicted` is what the defaults give.
    A row that *must miss* shows a model that is known to be wrong there: it is fine if its error is above `allowed`.
    """

    what: str
    source: str
    unit: str
    measured: Fraction
    predicted: Fraction
    how: str
    allowed: Fraction
    low: Fraction | None = None
    high: Fraction | None = None
    remark: str = ""

    @property
    def error(self) -> Fraction:
        """Relative to what was measured."""
        return self.predicted / self.measured - 1

    @property
    def fine(self) -> bool:
        """Whether the error is allowed; what is not modelled is never judged."""
        if self.low is not None and self.high is not None:
            return self.low <= self.measured <= self.high
        if self.how == "must miss":
            return abs(self.error) > self.allowed
        return self.how == "not modelled" or abs(self.error) <= self.allowed


@dataclass(frozen=True)
class Group:
    """Figures of one kind."""

    title: str
    rows: tuple[Row, ...]


def evidence() -> tuple[Group, ...]:
    """All figures; computed anew each time, nothing is stored."""
    return (
        Group("Link layer, x16", tuple(_link_rows())),
        Group("Large copies", tuple(_large_rows())),
        Group("Copies by size", tuple(_curve_rows())),
        Group("Migration by the CPU", tuple(_migration_rows())),
        Group("Migration to device memory", tuple(_device_rows())),
        Group("Device page faults", tuple(_fault_rows())),
    )


def _exact(
    what: str, source: str, unit: str, measured: str, predicted: Fraction, how: str, allowed: str, remark: str = ""
) -> Row:
    return Row(what, source, unit, Fraction(measured), predicted, how, Fraction(allowed), remark=remark)


def _band(what: str, source: str, measured: str, predicted: Fraction, low: Fraction, high: Fraction) -> Row:
    return Row(what, source, "GB/s", Fraction(measured), predicted, "band", Fraction(0), low, high)


def _link_rows() -> Iterator[Row]:
    for (generation, mps), figures in pub.PCIE_X16.items():
        link = PcieLink(generation, 16, mps=mps)
        rates = {
            "packets": link.tlp,
            "writes of 64 B": link.write_rate(64),
            "writes of 4 KiB": link.write_rate(4 * KIB),
            "reads of 64 B": link.read_rate(64),
            "reads of 4 KiB": link.read_rate(4 * KIB),
            "both, 4 KiB each way": link.both_rate(4 * KIB),
        }
        for (what, rate), figure in zip(rates.items(), figures, strict=True):
            yield _exact(
                f"gen {generation}, MPS {mps}, {what}", pub.PCIE_MODEL, "GB/s", figure, rate / GB, "formula", "1/1000"
            )
    link = PcieLink(3, 8, mps=256)
    for size, figure in pub.PCIE_X8.items():
        rate = link.both_rate(size) if size else link.tlp
        what = f"both, {size} B each way" if size else "packets"
        yield _exact(f"gen 3 x8, MPS 256, {what}", pub.PCIE_MODEL, "Gb/s", figure, rate * 8 / GB, "formula", "1/1000")


def _large_rows() -> Iterator[Row]:
    for generation, what, figure, source in pub.LARGE_COPIES:
        low, high = dllp_band(generation)
        link = PcieLink(generation, 16)
        rate = link.read_rate(4 * KIB) if "to device" in what else link.write_rate(4 * KIB)
        yield _band(f"gen {generation}, {what}", source, figure, rate / GB, low / GB, high / GB)
    what, figure, source = pub.SM_READ
    size = GIB
    requests = Requests(550, 64)
    link = PcieLink(5, 16, mps=512, round_trip_ps=1 * US)
    rate = Fraction(size * S, requests.ps(link, size, size // 64, to_device=True, posted=False))
    told = "reads by a kernel wait for one another: 550 requests of 64 B and a round trip of 1 us give this"
    yield _exact(f"gen 5, {what}", source, "GB/s", figure, rate / GB, "fitted", "1/100", told)
    both = PcieLink(4, 16).both_rate(4 * KIB) / GB
    source = "forums.developer.nvidia.com 352186"
    yield _exact("gen 4, A100, to system, both at once", source, "GB/s", "24", both, "predicted", "15/100")
    told = "the host slows one direction down; the link alone does not"
    yield _exact("gen 4, A100, to device, both at once", source, "GB/s", "11", both, "not modelled", "0", told)


def _curve_rows() -> Iterator[Row]:
    for kib, figure in pub.COPY_CURVE.items():
        ps = PASCAL_ENGINE.copy_ps(PASCAL_COPY, kib * KIB, to_device=True)
        yield _exact(f"GTX 1080 Ti, {kib} KiB", pub.UVMSMART, "us", figure, Fraction(ps, US), "fitted", "1/10")
    fit = copy_curve_fit()
    for judged in fit.judged:
        figure = pub.COPY_CURVE[judged.point.size // KIB]
        alone = Fraction(judged.held_out_ps or 0, US)
        what = f"GTX 1080 Ti, {judged.point.size // KIB} KiB, from the others"
        yield _exact(what, pub.UVMSMART, "us", figure, alone, "predicted", "1/10")


def _migration_rows() -> Iterator[Row]:
    fit = garg_fit(pub.GARG_71, (16, 64, 256))
    source = pub.GARG_71_SOURCE
    for kib in (16, 64, 256):
        judged = next(j for j in fit.chosen if j.point.size == kib * KIB)
        rate = Fraction(judged.point.size * S, judged.fitted_ps) / GB
        what = f"folios of {kib} KiB, from 4 KiB and 1 MiB"
        yield _exact(what, source, "GB/s", pub.GARG_71[kib], rate, "predicted", "3/100")
    whole = fit.constants
    line = Fraction(whole.page_ps or 0, US) + Fraction(PMD * S, (whole.rate or 1) * US)
    took = Fraction(PMD * S, GB * US) / Fraction(pub.GARG_71[2048])
    told = "a PMD-mapped page takes another path: the line of the other sizes is some 50 % too slow for it"
    yield Row("PMD-mapped 2 MiB on that line", source, "us", took, line, "must miss", Fraction(4, 10), remark=told)
    pmd = Fraction(whole.huge_ps or 0, US)
    yield Row("PMD-mapped 2 MiB, its own constant", source, "us", took, pmd, "fitted", Fraction(1, 100))
    for figures, where in ((pub.GARG_71, pub.GARG_71_SOURCE), (pub.GARG_70, pub.GARG_70_SOURCE)):
        for judged in garg_fit(figures).judged:
            if judged.held_out_ps is not None:
                kib = judged.point.size // KIB
                rate = Fraction(judged.point.size * S, judged.held_out_ps) / GB
                what = f"folios of {kib} KiB, from the other sizes"
                yield _exact(what, where, "GB/s", figures[kib], rate, "predicted", "15/100")
    for what, folios, each, figure in pub.YAN:
        ps = YAN_2017.by_cpu_ps(folios * each, each)
        yield _exact(what, pub.YAN_SOURCE, "us", figure, Fraction(ps, US), "fitted", "1/100")


def _device_rows() -> Iterator[Row]:
    size = 64 * MIB
    one = xe_range_ps(size)
    yield _exact("xe, 64 MiB, one thread", pub.XE_SOURCE, "ms", pub.XE_64M_MS, Fraction(one, MS), "fitted", "1/100")
    five = Fraction(size * S, xe_range_ps(size, threads=5)) / GB
    slow, fast = pub.XE_5_THREADS
    told = "threads that never wait for one another: the copies bound them"
    yield _exact("xe, five threads, high clocks", pub.XE_SOURCE, "GB/s", fast, five, "predicted", "1/10", told)
    told = "as above; what slows these down is not in the model"
    yield _exact("xe, five threads", pub.XE_SOURCE, "GB/s", slow, five, "not modelled", "0", told)
    many = Fraction(size * S, xe_range_ps(size, threads=1000)) / GB
    yield _exact("xe, a thousand threads: the copy alone", pub.XE_SOURCE, "GB/s", pub.XE_COPY, many, "fitted", "1/100")
    gain = Fraction(one, xe_range_ps(size, huge=True))
    told = "the source says +350 %, of another setting: a check of plausibility only"
    yield _exact("PMD-size pages, gain over base pages", pub.THP_SOURCE, "times", "3.5", gain, "predicted", "1/4", told)


def _fault_rows() -> Iterator[Row]:
    whole = touched_on_demand_ps(pub.PASCAL_RECORDS)
    source = pub.PASCAL_SOURCE
    yield _exact(
        "GTX 1080, array touched on demand", source, "ms", pub.PASCAL_MS, Fraction(whole, MS), "fitted", "2/100"
    )
    each = Fraction(whole, pub.PASCAL_RECORDS * US)
    yield _exact("the same, a fault record", source, "us", "12.2", each, "fitted", "2/100")
    rate = Fraction(pub.PASCAL_TRAFFIC_GIB * GIB * S, whole) / GB
    told = "the kernel's traffic, three arrays of 1 GiB, not bytes over the bus"
    yield _exact("the same, traffic of the kernel", source, "GB/s", pub.PASCAL_RATE, rate, "fitted", "4/100", told)
    alone = Fraction(isolated_fault_ps(), US)
    yield _exact("one fault alone", pub.SINGLE_SOURCE, "us", pub.SINGLE_US, alone, "fitted", "2/100")
    for records, figure in ((1, "0.091"), (256, "23.3")):
        serial = FaultCosts(irq_ps=45 * US, batch=256)
        best = Fraction(records * 4 * KIB * S, serial.batch_ps(records)) / GB
        what = f"ceiling of 4 KiB pages, 45 us a batch of {records}"
        yield _exact(what, "arithmetic", "GB/s", figure, best, "formula", "1/100")


def copy_curve_fit() -> Fit:
    """The copy curve fitted as `hmmspec cost fit` does."""
    lines = [f"{kib * KIB},{us}" for kib, us in pub.COPY_CURVE.items()]
    return fit_series(read_csv(Source("copy curve", "\n".join(["bytes,time_us", *lines]))).series[0])


def garg_fit(figures: dict[int, str], hold_out_kib: tuple[int, ...] = ()) -> Fit:
    """move_pages() by folio size, fitted as `hmmspec cost fit` does, some sizes held out."""
    lines = [f"{int(kib < 2048)},{int(kib == 2048)},{kib * KIB},{rate}" for kib, rate in figures.items()]
    source = Source("move_pages", "\n".join(["pages,huge,bytes,gb_per_s", *lines]))
    return fit_series(read_csv(source).series[0], [kib * KIB for kib in hold_out_kib])
