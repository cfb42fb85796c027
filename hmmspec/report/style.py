"""How text is laid out: as wide as mail allows, with colour only where a person looks at a terminal."""

from __future__ import annotations

import os
import shutil
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TextIO

MAIL_WIDTH = 72
WIDEST = 110
_KEPT = "\0"  # a space at which no line may end

Tone = Literal["good", "bad", "warn", "dim", "strong"]
_CODES: dict[Tone, str] = {"good": "32", "bad": "1;31", "warn": "33", "dim": "2", "strong": "1"}


@dataclass(frozen=True)
class Style:
    """`width`: the most columns a line takes (a word longer than that is not cut); `colour`: may use ANSI codes."""

    width: int = MAIL_WIDTH
    colour: bool = False

    def paint(self, text: str, tone: Tone) -> str:
        """The text in a tone, or unchanged where there is no colour."""
        return f"\033[{_CODES[tone]}m{text}\033[0m" if self.colour and text else text

    def wrap(self, text: str, first: str = "", rest: str | None = None) -> list[str]:
        """The text in lines that fit; `first` and `rest` stand before the first and the other lines."""
        rest = " " * len(first) if rest is None else rest
        lines = textwrap.wrap(
            text,
            self.width,
            initial_indent=first,
            subsequent_indent=rest,
            break_long_words=False,
            break_on_hyphens=False,
        )
        return lines or [first.rstrip()]

    def wrap_items(self, items: Sequence[str], between: str, first: str = "", rest: str | None = None) -> list[str]:
        """Items in lines; no line ends within an item that is short enough for that to look well."""
        kept = [item.replace(" ", _KEPT) if len(item) <= self.width // 2 else item for item in items]
        return [line.replace(_KEPT, " ") for line in self.wrap(between.join(kept), first, rest)]


PLAIN = Style()


def style_for(stream: TextIO) -> Style:
    """The style that suits a stream: a terminal's width and colour (`NO_COLOR` turns it off), else plain for mail."""
    if not stream.isatty():
        return PLAIN
    colour = "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"
    return Style(max(40, min(shutil.get_terminal_size().columns, WIDEST)), colour)
