"""From fits to a machine: what was measured takes the place of what a preset says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from hmmspec.ref.cost.fit import Fit
from hmmspec.ref.cost.link import RateLink
from hmmspec.ref.cost.machine import Machine
from hmmspec.ref.cost.units import PMD, Impossible, S


def calibrated(base: Machine, fits: Sequence[Fit], name: str) -> Machine:
    """`base` with the constants of `fits`.

    Copies to the device and to the system give the link's rates and the engine's times; a series without a direction
    that counts pages gives the migration's.  Of several series for one direction the first is taken.  Raises
    Impossible (HMM143) if nothing in `fits` says anything about a machine.
    """
    machine, told = base, [f"calibrated from {base.name}"]
    to_device, to_system = _first(fits, "to_device"), _first(fits, "to_system")
    if to_device or to_system:
        machine = _with_copies(machine, to_device, to_system)
    pages = next((f for f in fits if f.series.words.get("direction") is None and f.constants.page_ps is not None), None)
    if pages is not None:
        machine = _with_pages(machine, pages)
    used = [f for f in (to_device, to_system, pages) if f is not None]
    if not used:
        told_why = "no series of the file has the direction to_device or to_system, or counts pages"
        raise Impossible("HMM143", told_why)
    told += [f"fitted to {len(f.judged)} points: {f.series.name}" for f in used]
    return replace(machine, name=name, sources=(*told, *base.sources))


def _first(fits: Sequence[Fit], direction: str) -> Fit | None:
    return next((f for f in fits if f.series.words.get("direction") == direction), None)


def _with_copies(machine: Machine, to_device: Fit | None, to_system: Fit | None) -> Machine:
    """A direction that was not measured is as fast as the other."""
    rates = [(f or to_device or to_system) for f in (to_device, to_system)]
    one, other = (f.constants.rate if f is not None else None for f in rates)
    raw = int(machine.link.raw)
    if one is None or other is None:
        raise Impossible("HMM143", "copies of PMD-size pages alone do not give a rate")
    link = RateLink(
        name=f"as measured over {machine.link}",
        raw_rate=max(raw, one, other),
        to_device_rate=one,
        to_system_rate=other,
        round_trip_ps=machine.link.round_trip_ps,
        coherent=machine.link.coherent,
    )
    measured = [f for f in (to_device, to_system) if f is not None]
    setup = [f.constants.call_ps or 0 for f in measured]
    runs = [f.constants.run_ps for f in measured if f.constants.run_ps is not None]
    back = to_system.constants.call_ps or 0 if to_system is not None else None
    first = to_device.constants.call_ps or 0 if to_device is not None else setup[0]
    # What an engine's own clock says leaves out the software that submits.
    engine = all(f.series.words.get("series") == "engine" for f in measured)
    submit = machine.dma.submit_ps if engine else 0
    dma = replace(machine.dma, submit_ps=submit, setup_ps=first, setup_back_ps=back)
    if runs:
        dma = replace(dma, descriptor_ps=max(runs))
    return replace(machine, link=link, dma=dma)


def _with_pages(machine: Machine, fit: Fit) -> Machine:
    """Migration by the CPU: the copy is the CPU's, too."""
    c = fit.constants
    found = replace(machine.migration, folio_ps=c.page_ps or 0, call_ps=c.call_ps or 0)
    if c.rate is not None:
        found = replace(found, copy_rate=c.rate)
    if c.huge_ps is not None:
        own = min(c.huge_ps, c.page_ps or 0)
        left = c.huge_ps - own
        found = replace(found, huge_ps=own, huge_copy_rate=PMD * S // left if left else found.huge_copy_rate)
    return replace(machine, migration=found)
