"""What a bus carries: PCIe from its generation, lanes and packet sizes, or any link from its measured rates.

The formula is that of Neugebauer et al., "Understanding PCIe performance for end host networking" (SIGCOMM 2018) and
of the open model that came with it (github.com/pcie-bench/pcie-model).  Headers take from every packet, Ack and
flow-control packets (DLLPs) and clock compensation take a share of the wire.

Directions are a device's: it copies *to the device* by reading system memory, and *to the system* by writing it.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Protocol

from hmmspec.ref.cost.units import GB, Impossible, S, chunks, up, wanted

# Transfers a second and lane, and the bits of data in bits sent.  Generations 6 and 7 send flits, whose 256 bytes hold
# 236 of packets and 6 of link layer; DLLPs then count twice, in the flit and as packets: a guess, like the model's.
GENERATIONS: dict[int, tuple[Fraction, Fraction]] = {
    1: (Fraction(5, 2), Fraction(8, 10)),
    2: (Fraction(5), Fraction(8, 10)),
    3: (Fraction(8), Fraction(128, 130)),
    4: (Fraction(16), Fraction(128, 130)),
    5: (Fraction(32), Fraction(128, 130)),
    6: (Fraction(64), Fraction(242, 256)),
    7: (Fraction(128), Fraction(242, 256)),
}
LANES = (1, 2, 4, 8, 12, 16, 32)
PAYLOADS = (128, 256, 512, 1024, 2048, 4096)
BOUNDARIES = (64, 128, 256, 512)

FRAME, HEADER, DIGEST = 8, 4, 4  # framing + sequence + LCRC; the header that all packets have; ECRC
ADDRESS = {32: 8, 64: 12}  # more header of a read or write request
COMPLETION = 8  # more header of a completion with data
DLLP, SKIP, SKIP_INTERVAL = 8, 4, 1538


class Link(Protocol):
    """What a bus between system memory and a device can be asked.  Sizes in bytes, times in picoseconds."""

    @property
    def raw(self) -> Fraction:
        """Bytes a second and direction that the wire carries: no payload ever moves faster."""
        ...  # pragma: no cover

    @property
    def round_trip_ps(self) -> int:
        """From a read request to its first data."""
        ...  # pragma: no cover

    @property
    def coherent(self) -> bool:
        """Whether CPU and device cache each other's memory, so that either may use it where it is."""
        ...  # pragma: no cover

    def to_device_ps(self, size: int, count: int = 1) -> int:
        """The wire's time for `size` bytes to the device in `count` transfers, without the latency of the first."""
        ...  # pragma: no cover

    def to_system_ps(self, size: int, count: int = 1) -> int:
        """The same to the system."""
        ...  # pragma: no cover

    def both_ps(self, to_device: int, to_system: int) -> int:
        """Both directions at once, each with so many bytes, until both are done."""
        ...  # pragma: no cover


@dataclass(frozen=True)
class PcieLink:
    """A PCIe link.

    mps, mrrs, rcb: maximum payload, maximum read request and read completion boundary, bytes.
    rcb_completions: completions are of RCB size (older chipsets) and not of MPS size.  As in the published formula
    MRRS does not cut completions; who wants that sets mps to the smaller of both.
    ack_interval, fc_interval: symbols on each lane from one DLLP to the next; None: the rate that the base
    specification recommends, which real links stay below; 0: these DLLPs cost nothing.
    skip_interval: bytes on each lane from one SKIP ordered set of 4 bytes to the next; 0: they cost nothing.
    outstanding, round_trip_ps: how many reads of up to MRRS bytes wait at once, each for so long; None: enough.
    Raises Impossible (HMM140) for what no PCIe link has.
    """

    generation: int
    lanes: int
    mps: int = 256
    mrrs: int = 512
    rcb: int = 64
    rcb_completions: bool = False
    address_bits: int = 64
    ecrc: bool = False
    ack_interval: int | None = None
    fc_interval: int | None = None
    skip_interval: int = SKIP_INTERVAL
    outstanding: int | None = None
    round_trip_ps: int = 1_000_000
    coherent: bool = False

    def __post_init__(self) -> None:
        for name, value, possible in (
            ("generation", self.generation, tuple(GENERATIONS)),
            ("lanes", self.lanes, LANES),
            ("mps", self.mps, PAYLOADS),
            ("mrrs", self.mrrs, PAYLOADS),
            ("rcb", self.rcb, BOUNDARIES),
            ("address_bits", self.address_bits, tuple(ADDRESS)),
        ):
            if type(value) is not int or value not in possible:
                raise Impossible("HMM140", *_told(name, value, possible))
        for name, number, least in (
            ("ack_interval", self.ack_interval, 0),
            ("fc_interval", self.fc_interval, 0),
            ("skip_interval", self.skip_interval, 0),
            ("outstanding", self.outstanding, 1),
            ("round_trip_ps", self.round_trip_ps, 0),
        ):
            if number is not None and (type(number) is not int or number < least):
                raise Impossible("HMM140", f"{name} of a PCIe link must be a whole number from {least}, not {number}")
        if self.share <= 0:
            told = f"Acks each {self.ack_symbols} symbols and FC updates each {self.fc_symbols} leave nothing for data"
            raise Impossible("HMM140", told, "the recommended intervals are 33 to 4239 symbols; 0 means no cost")

    def __str__(self) -> str:
        return f"PCIe {self.generation} x{self.lanes}, MPS {self.mps}, MRRS {self.mrrs}"

    @cached_property
    def raw(self) -> Fraction:
        """Bytes a second one way after encoding."""
        transfers, encoding = GENERATIONS[self.generation]
        return transfers * GB * self.lanes * encoding / 8

    @cached_property
    def ack_symbols(self) -> int:
        """Symbols from one Ack to the next; 0: they cost nothing."""
        return (
            recommended_interval(self.generation, self.lanes, self.mps)
            if self.ack_interval is None
            else self.ack_interval
        )

    @cached_property
    def fc_symbols(self) -> int:
        """Symbols from one flow-control update to the next; 0: they cost nothing."""
        return (
            recommended_interval(self.generation, self.lanes, self.mps)
            if self.fc_interval is None
            else self.fc_interval
        )

    @cached_property
    def share(self) -> Fraction:
        """The part of the wire that DLLPs and clock compensation leave."""
        costs = ((DLLP, self.ack_symbols), (DLLP, self.fc_symbols), (SKIP, self.skip_interval))
        return 1 - sum((Fraction(size, each) for size, each in costs if each), Fraction(0))

    @cached_property
    def tlp(self) -> Fraction:
        """Bytes of packets a second, headers included, one way."""
        return self.raw * self.share

    # Bytes on the wire.

    def write_wire(self, size: int, count: int = 1) -> int:
        """Bytes of packets for `count` writes of `size` bytes together, in the direction of the data."""
        return size + (FRAME + HEADER + ADDRESS[self.address_bits] + self._digest) * _packets(size, count, self.mps)

    def request_wire(self, size: int, count: int = 1) -> int:
        """Bytes of packets that ask for `size` bytes in `count` reads, against the direction of the data."""
        return (FRAME + HEADER + ADDRESS[self.address_bits] + self._digest) * _packets(size, count, self.mrrs)

    def completion_wire(self, size: int, count: int = 1) -> int:
        """Bytes of packets that bring `size` bytes read in `count` reads, in the direction of the data."""
        most = self.rcb if self.rcb_completions else self.mps
        return size + (FRAME + HEADER + COMPLETION + self._digest) * _packets(size, count, most)

    @property
    def _digest(self) -> int:
        return DIGEST if self.ecrc else 0

    # Rates of a stream of transfers of one size.

    def write_rate(self, size: int) -> Fraction:
        """Bytes a second of writes of `size` bytes each, one after the other."""
        return self._rate(size, self.write_wire(size))

    def read_rate(self, size: int) -> Fraction:
        """Bytes a second of reads of `size` bytes each, as many at once as may be outstanding."""
        return min(self._rate(size, max(self.completion_wire(size), self.request_wire(size))), self._waiting(size))

    def both_rate(self, size: int) -> Fraction:
        """Bytes a second each way, of reads and writes of `size` bytes at once."""
        sent = self.write_wire(size) + self.request_wire(size)
        return min(self._rate(size, max(sent, self.completion_wire(size))), self._waiting(size))

    def _rate(self, size: int, wire: int) -> Fraction:
        return self.tlp * wanted("the size of a transfer", size, 1) / wire

    def _waiting(self, size: int) -> Fraction:
        """The most bytes a second that the outstanding requests allow."""
        if self.outstanding is None or not self.round_trip_ps:
            return self.raw
        return Fraction(self.outstanding * min(size, self.mrrs) * S, self.round_trip_ps)

    # Times.

    def to_device_ps(self, size: int, count: int = 1) -> int:
        """`size` bytes read by the device in `count` transfers."""
        if not _any(size, count):
            return 0
        wire = max(self.completion_wire(size, count), self.request_wire(size, count))
        return max(self._time(wire), self._waiting_ps(_packets(size, count, self.mrrs)))

    def to_system_ps(self, size: int, count: int = 1) -> int:
        """`size` bytes written by the device in `count` transfers."""
        return self._time(self.write_wire(size, count)) if _any(size, count) else 0

    def both_ps(self, to_device: int, to_system: int) -> int:
        """Reads and writes at once: the requests of the reads share their direction with the writes."""
        _any(to_device, 1), _any(to_system, 1)
        sent = self.write_wire(to_system) + self.request_wire(to_device)
        slower = max(self._time(max(sent, self.completion_wire(to_device))), self.to_device_ps(to_device))
        return max(slower, self.to_system_ps(to_system))

    def _time(self, wire: int) -> int:
        return up(Fraction(wire * S) / self.tlp)

    def _waiting_ps(self, requests: int) -> int:
        """The first round trip of all is the caller's to count."""
        if self.outstanding is None:
            return 0
        return max(0, up(Fraction(requests * self.round_trip_ps, self.outstanding)) - self.round_trip_ps)


@dataclass(frozen=True)
class RateLink:
    """A link known by its rates, measured or nominal, in whole bytes a second and direction.

    raw_rate: what the wire carries at most; grain: bytes that the smallest transfer moves (a cache line).
    Raises Impossible (HMM140).
    """

    name: str
    raw_rate: int
    to_device_rate: int
    to_system_rate: int
    round_trip_ps: int = 0
    grain: int = 1
    coherent: bool = False

    def __post_init__(self) -> None:
        for field, least in (("raw_rate", 1), ("to_device_rate", 1), ("to_system_rate", 1), ("grain", 1)):
            self._whole(field, least)
        self._whole("round_trip_ps", 0)
        fastest = max(self.to_device_rate, self.to_system_rate)
        if fastest > self.raw_rate:
            told = f"a link cannot carry {fastest} bytes a second over a wire of {self.raw_rate}"
            raise Impossible("HMM140", told)

    def _whole(self, field: str, least: int) -> None:
        value = getattr(self, field)
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise Impossible("HMM140", f"{field} of a link must be a whole number from {least}, not {value!r}")

    def __str__(self) -> str:
        return self.name

    @property
    def raw(self) -> Fraction:
        """Bytes a second that the wire carries one way."""
        return Fraction(self.raw_rate)

    def to_device_ps(self, size: int, count: int = 1) -> int:
        """`size` bytes in `count` transfers to the device."""
        return self._time(size, count, self.to_device_rate)

    def to_system_ps(self, size: int, count: int = 1) -> int:
        """`size` bytes in `count` transfers to the system."""
        return self._time(size, count, self.to_system_rate)

    def both_ps(self, to_device: int, to_system: int) -> int:
        """The directions do not disturb each other."""
        return max(self.to_device_ps(to_device), self.to_system_ps(to_system))

    def _time(self, size: int, count: int, rate: int) -> int:
        if not _any(size, count):
            return 0
        return up(Fraction(self.grain * _packets(size, count, self.grain) * S, rate))


def recommended_interval(generation: int, lanes: int, mps: int) -> int:
    """Symbols from one Ack, or flow-control update, to the next as the base specification recommends.

    Its formula: (payload + overhead) x factor / lanes + internal delay, in symbols; its tables are this, rounded down.
    """
    delay = {1: 19, 2: 70}.get(generation, 115)
    if mps <= 256:
        factor = Fraction(14, 10) if lanes <= 4 else Fraction(25, 10) if lanes == 8 else Fraction(3)
    else:
        factor = Fraction(1) if lanes <= 8 else Fraction(2)
    return int((mps + 28) * factor / lanes) + delay


def dllp_band(generation: int, lanes: int = 16) -> tuple[Fraction, Fraction]:
    """Bytes a second of long writes between which measured copies lie.

    From DLLPs at the recommended rate with an MPS of 128 to nothing but packets with an MPS of 512.
    """
    slow = PcieLink(generation, lanes, mps=128)
    fast = PcieLink(generation, lanes, mps=512, ack_interval=0, fc_interval=0, skip_interval=0)
    return slow.write_rate(4096), fast.write_rate(4096)


def _packets(size: int, count: int, most: int) -> int:
    """Packets of at most `most` bytes for `size` bytes in `count` transfers, as equal as can be."""
    each, longer = divmod(size, count)
    return (count - longer) * chunks(each, most) + longer * chunks(each + 1, most)


def _any(size: int, count: int) -> bool:
    wanted("the size of a transfer", size)
    wanted("the number of transfers", count)
    return size > 0 and count > 0


def _told(name: str, value: object, possible: tuple[int, ...]) -> tuple[str, str]:
    words = {"generation": "generation", "lanes": "width", "mps": "MPS", "mrrs": "MRRS", "rcb": "RCB"}
    sign = "x" if name == "lanes" else ""
    listed = ", ".join(f"{sign}{one}" for one in possible)
    return f"no PCIe link has {words.get(name, name)} {sign}{value}", f"possible are {listed}"
