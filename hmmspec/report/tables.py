"""Plain tables: aligned text for a terminal, Markdown for documents, CSV for other programs."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Table:
    """heads: a name for each column; right: the columns whose cells are numbers."""

    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    right: frozenset[int] = frozenset()

    def text(self, indent: str = "") -> list[str]:
        """Lines with aligned columns; the heads first."""
        every = (self.heads, *self.rows)
        wide = [max(len(row[k]) for row in every) for k in range(len(self.heads))]
        return [(indent + "  ".join(self._cell(row[k], k, w) for k, w in enumerate(wide))).rstrip() for row in every]

    def markdown(self) -> list[str]:
        """Lines of a Markdown table."""
        rule = ["---:" if k in self.right else "---" for k in range(len(self.heads))]
        rows = (self.heads, rule, *self.rows)
        return ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]

    def _cell(self, text: str, column: int, wide: int) -> str:
        return text.rjust(wide) if column in self.right else text.ljust(wide)


def csv_text(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A CSV document with a header; what is None is an empty field."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(heads)
    writer.writerows([["" if cell is None else cell for cell in row] for row in rows])
    return out.getvalue()
