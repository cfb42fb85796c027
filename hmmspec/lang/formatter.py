"""`hmmspec fmt`: one layout for everybody's files.

Works on the tokens, so comments and line breaks stay where they are and the meaning cannot change.  It settles the
indentation, the spaces between tokens, blank lines and line ends.  Two or more spaces in a row inside a line are taken
for a column that the author lined up, and stay.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from hmmspec.diagnostics import Diagnostics, InternalError, Source
from hmmspec.lang.lexer import Tok, scan
from hmmspec.lang.parser import parse
from hmmspec.lang.spacing import classify, space_between

_STEP = 4
_TAB = 8


def format_text(source: Source) -> str:
    """The text of `source` in the common layout.  Raises `SpecError` if it does not parse."""
    parse(source)
    tokens = scan(source, Diagnostics())
    text = _Layout(source.text, tokens).run()
    again = scan(Source(source.path, text), Diagnostics())
    if [_essence(tok) for tok in tokens] != [_essence(tok) for tok in again]:
        raise InternalError("formatting changed the tokens of the file")
    return text


def _essence(tok: Tok) -> str:
    """What formatting must keep of a token: of a comment or a docstring, all but the white space around its lines."""
    if tok.kind in ("comment", "doc"):
        return "\n".join(line.strip() for line in tok.text.splitlines())
    return tok.text


@dataclass
class _Frame:
    """An open bracket.  `indent`: of the line that opened it; `inner`: of the lines in it; `hang`: of the lines that
    belong to the last label."""

    kind: str
    indent: int
    inner: int
    fresh: bool = True
    hang: int | None = None


@dataclass
class _Layout:
    text: str
    tokens: Sequence[Tok]
    out: list[str] = field(default_factory=list)

    def run(self) -> str:
        lines = self._lines()
        roles = classify(self.tokens)
        frames = [_Frame("block", 0, 0)]
        previous_end = 0
        for number, (first, last) in enumerate(lines):
            row = self.tokens[first:last]
            if number > 0 and self._blank_between(previous_end, row[0].start):
                self.out.append("")
            previous_end = row[-1].end
            indent = self._indent(frames, lines, number, roles)
            self.out.append(self._write(first, last, indent, roles))
            self._advance(frames, first, last, indent, roles)
        return "\n".join(line.rstrip() for line in "\n".join(self.out).split("\n")) + "\n"

    def _lines(self) -> list[tuple[int, int]]:
        """The tokens of each line as `[first, last)`.  A token of several lines belongs to the one it begins in."""
        result: list[tuple[int, int]] = []
        for i, tok in enumerate(self.tokens):
            if i == 0 or "\n" in self.text[self.tokens[i - 1].end : tok.start]:
                result.append((i, i + 1))
            else:
                result[-1] = (result[-1][0], i + 1)
        return result

    def _blank_between(self, end: int, start: int) -> bool:
        return self.text.count("\n", end, start) > 1

    # ------------------------------------------------------------ indentation

    def _indent(
        self, frames: Sequence[_Frame], lines: Sequence[tuple[int, int]], number: int, roles: Sequence[str]
    ) -> int:
        first, last = lines[number]
        frame = frames[-1]
        # A comment of its own goes with the line below it, unless that closes the block.
        comment_only = all(tok.kind == "comment" for tok in self.tokens[first:last])
        if comment_only:
            code = next((i for i in range(last, len(self.tokens)) if self.tokens[i].kind != "comment"), None)
        else:
            code = first
        if code is not None and roles[code] == "label":
            return frame.inner
        if code is not None and not comment_only:
            # Closing brackets at the start of a line stand below the line that opened them.
            depth = len(frames) - 1
            at = code
            while at < last and self.tokens[at].text in (")", "]", "}") and self.tokens[at].kind == "op" and depth > 0:
                frame = frames[depth]
                depth -= 1
                at += 1
            if at > code:
                return frame.indent
        base = frame.inner if frame.hang is None else frame.hang
        joins = code is not None and self.tokens[code].text in ("else", "or") and frame.kind == "block"
        if frame.kind != "list" and not frame.fresh and not joins:
            return base + _STEP
        return base

    def _advance(self, frames: list[_Frame], first: int, last: int, indent: int, roles: Sequence[str]) -> None:
        """Follow the brackets and statements of a line that was written at `indent`."""
        column = self._column_after_label(first, last, indent, roles)
        for i in range(first, last):
            tok, role = self.tokens[i], roles[i]
            frame = frames[-1]
            if tok.kind == "comment":
                continue
            if role == "label":
                frame.hang = None
            elif role == "label colon":
                frame.fresh = True
                following = next((t for t in self.tokens[i + 1 : last] if t.kind != "comment"), None)
                if following is None:
                    frame.hang = indent + _STEP
                else:
                    frame.hang = indent = column
            elif tok.kind == "op" and tok.text in ("(", "[", "{"):
                frame.fresh = False
                frames.append(_Frame(role if role in ("block", "record") else "list", indent, indent + _STEP))
            elif tok.kind == "op" and tok.text in (")", "]", "}") and len(frames) > 1:
                closed = frames.pop()
                frames[-1].fresh = closed.kind == "block"
            else:
                frame.fresh = tok.text == ";" or (tok.kind == "doc" and len(frames) == 1)
                if len(frames) == 1 and i <= 1:
                    frame.fresh = True  # `spec NAME` has no semicolon

    def _column_after_label(self, first: int, last: int, indent: int, roles: Sequence[str]) -> int:
        """Where the first statement after the last label of a line stands, once the line is written."""
        colons = [i for i in range(first, last) if roles[i] == "label colon"]
        if not colons or colons[-1] + 1 >= last:
            return indent
        line = self._write(first, colons[-1] + 2, indent, roles).split("\n")[-1]
        return len(line) - len(self.tokens[colons[-1] + 1].text.split("\n")[-1])

    # ------------------------------------------------------------ one line

    def _write(self, first: int, last: int, indent: int, roles: Sequence[str]) -> str:
        line = " " * indent
        for i in range(first, last):
            tok = self.tokens[i]
            if i > first:
                line += " " * self._gap(i, first, indent, line, roles)
            line += self._shifted(tok, indent) if tok.kind == "comment" and i == first else tok.text.replace("\r", "")
        return line

    def _gap(self, i: int, first: int, indent: int, line: str, roles: Sequence[str]) -> int:
        """How many spaces stand before token `i` of the line that begins with token `first`."""
        prev, tok = self.tokens[i - 1], self.tokens[i]
        written = self._columns(prev.end, tok.start)
        if tok.kind == "comment":
            if written < 2:
                return 1
            # A comment behind the code stays in its column, as far as the code leaves room.
            wanted = self._column(tok.start) - self._column(self.tokens[first].start) + indent
            return max(2, wanted - len(line.rsplit("\n", 1)[-1]))
        if prev.kind == "comment":
            return max(1, written)
        if written >= 2 and tok.text not in (";", ","):
            return written
        # `var dirty [Page]`: a column of brackets below a longer name may need one space.
        if roles[i] == "index" and self.tokens[first].text in ("var", "lock", "rwlock") and written == 1:
            return 1
        return 1 if space_between(prev, tok, roles[i - 1], roles[i]) else 0

    def _column(self, offset: int) -> int:
        line_start = self.text.rfind("\n", 0, offset) + 1
        return len(self.text[line_start:offset].expandtabs(_TAB))

    def _columns(self, start: int, end: int) -> int:
        return self._column(end) - self._column(start) if "\n" not in self.text[start:end] else 0

    def _shifted(self, tok: Tok, indent: int) -> str:
        """A comment of several lines, moved as a whole to where its first line now stands."""
        head, *rest = tok.text.replace("\r", "").split("\n")
        move = indent - self._column(tok.start)
        lines = [head]
        for line in rest:
            body = line.lstrip(" \t")
            depth = len(line[: len(line) - len(body)].expandtabs(_TAB))
            lines.append(" " * max(0, depth + move) + body if body else "")
        return "\n".join(lines)
