"""What comes back from a command."""

from __future__ import annotations

import dataclasses

from hmmspec.records import dataclass

Json = dict[str, object]

# NOTE(stamps) in stamps.py says what a stamp is.
TORN = -1  # what is read where the words of a page fit no stamp
STAMPS = 1 << 48  # stamps are below this

PAGEMAP_PRESENT, PAGEMAP_SWAPPED, PAGEMAP_SOFT_DIRTY, PAGEMAP_EXCLUSIVE, PAGEMAP_FILE, PAGEMAP_UFFD_WP = (
    1 << i for i in range(6)
)

DMIRROR_ERROR, DMIRROR_NONE, DMIRROR_READ, DMIRROR_WRITE, DMIRROR_PMD, DMIRROR_PUD = 0xFF, 0x00, 0x01, 0x02, 0x04, 0x08
DMIRROR_ZERO, DMIRROR_PRIV_LOCAL, DMIRROR_PRIV_REMOTE = 0x10, 0x20, 0x30
DMIRROR_COH_LOCAL, DMIRROR_COH_REMOTE = 0x40, 0x50


@dataclass(frozen=True)
class Result:
    """What came back from a command.

    error: '' or the name of an errno (`ENOENT`) or of a signal (`SIGBUS`, `SIGSEGV`); on an error the other fields are
    empty, but for what a command's docstring says.  cpages, faults: as the test device counts them; for accesses and
    GUP the number of pages done.  What a target cannot see is None or empty.
    """

    error: str = ""
    cpages: int | None = None
    faults: int | None = None
    stamps: tuple[int, ...] = ()
    snapshot: tuple[int, ...] = ()
    pagemap: tuple[int, ...] = ()
    counts: tuple[tuple[str, int], ...] = ()

    @property
    def ok(self) -> bool:
        return not self.error

    def to_json(self) -> Json:
        """The result as a JSON object, without the fields that are empty."""
        out: Json = {}
        for f in dataclasses.fields(self):
            value = getattr(self, f.name)
            if value != f.default:
                out[f.name] = dict(value) if f.name == "counts" else list(value) if isinstance(value, tuple) else value
        return out

    def __str__(self) -> str:
        """`ENOENT`, or `ok cpages=4 stamps=1..4`: for people."""
        parts = [self.error or "ok"]
        parts += [f"{n}={v}" for n in ("cpages", "faults") if (v := getattr(self, n)) is not None]
        parts += [f"{n}={shown}" for n in ("stamps", "pagemap") if (shown := runs(getattr(self, n)))]
        if self.snapshot:
            parts.append(
                "snapshot=" + ",".join(f"{b:02x}" for b in self.snapshot[:16]) + ".." * (len(self.snapshot) > 16)
            )
        parts += [f"{n}={v}" for n, v in self.counts]
        return " ".join(parts)


def runs(numbers: tuple[int, ...], most: int = 12) -> str:
    """`1..4,0*3,torn`: consecutive numbers and repeated ones told shortly."""
    out: list[str] = []
    i = 0
    while i < len(numbers) and len(out) < most:
        first, j = numbers[i], i + 1
        step = numbers[j] - first if j < len(numbers) and numbers[j] - first in (0, 1) and first != TORN else None
        while step is not None and j < len(numbers) and numbers[j] == numbers[j - 1] + step:
            j += 1
        text = "torn" if first == TORN else str(first)
        out.append(text if j == i + 1 else f"{text}*{j - i}" if step == 0 else f"{text}..{numbers[j - 1]}")
        i = j
    return ",".join(out) + (",.." if i < len(numbers) else "")
