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
from hmmspec.lang.spacing import INDENT, classify, space_between

_STEP = len(INDENT)
_TAB = 8
_PASSES = 8


def format_text(source: Source) -> str:
    """The text of `source` in the common layout.  Raises `SpecError` if it does not parse."""
    parse(source)
    tokens = scan(source, Diagnostics())
    before, text, again = source.text, "", tokens
    # One pass is enough for anything that somebody wrote; a second one may move what stands in very odd places.
    for _ in range(_PASSES):
        text = _Layout(before, again).run()
        if text == before:
            break
        before = text
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
    """An open bracket.

    indent: of the statement or line that opened it; inner: of the lines in it.
    current: of the statement that has begun, and current_column: where that was written.
    label: the indentation of the last label, label_column: where it was written; hang: the indentation of the lines
    below it that the author put deeper than it, settled: whether one of them has fixed that.
    align: the place of what follows the bracket on its line, as it was written and as it is now.
    """

    kind: str
    indent: int
    inner: int
    current: int = 0
    current_column: int = 0
    fresh: bool = True
    hang: int | None = None
    label: int = 0
    label_column: int = 0
    settled: bool = True
    align: tuple[int, int] = (-1, -1)


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
            # A label inside a loop may stand below those outside of it, as C programmers like it.
            written = self._column(self.tokens[code].start)
            return next((f.label for f in frames if f.hang is not None and written <= f.label_column), frame.inner)
        if code is not None and roles[code] == "label colon":
            return frame.label + _STEP
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
        if code is not None and self.tokens[code].kind == "doc":
            return min(_STEP, self._column(self.tokens[code].start))
        written = self._column(self.tokens[first if code is None else code].start)
        if frame.kind == "list":
            return frame.align[1] if written == frame.align[0] else frame.inner
        joins = code is not None and self.tokens[code].text in ("else", "or") and self._after_block(code, roles)
        if not frame.fresh and not joins:
            # One level deeper, or two where the author wants to tell it from a block below.
            deep = written - frame.current_column >= 2 * _STEP
            return frame.current + (2 * _STEP if deep else _STEP)
        frame.current, frame.current_column = frame.inner, written
        below = frame.label + written - frame.label_column  # the author's column, seen from the label
        if frame.hang is not None and below > frame.inner:
            if not frame.settled and below >= frame.label + 2 * _STEP:
                # It need not be that of the statement in `label: statement`.
                frame.hang = below
            frame.settled = True
            frame.current = frame.hang
        return frame.current

    def _after_block(self, i: int, roles: Sequence[str]) -> bool:
        """Whether the last token before token `i`, comments aside, closes a block."""
        before = (k for k in range(i - 1, -1, -1) if self.tokens[k].kind != "comment")
        last = next(before, None)
        return last is not None and self.tokens[last].text == "}" and roles[last] == "block"

    def _advance(self, frames: list[_Frame], first: int, last: int, indent: int, roles: Sequence[str]) -> None:
        """Follow the brackets and statements of a line that was written at `indent`."""
        line_indent = indent
        for i in range(first, last):
            tok, role = self.tokens[i], roles[i]
            frame = frames[-1]
            if tok.kind == "comment":
                continue
            if role == "label":
                frame.label = indent
                frame.label_column = self._column(self.tokens[first].start)
            elif role == "label colon":
                frame.fresh = True
                following = next((t for t in self.tokens[i + 1 : last] if t.kind != "comment"), None)
                frame.settled = following is None
                if following is None:
                    frame.hang = max(frame.label + _STEP, frame.inner)
                else:
                    frame.hang = frame.current = indent = self._place(first, i + 1, line_indent, roles)
                    frame.current_column = self._column(following.start)
            elif tok.kind == "op" and tok.text in ("(", "[", "{"):
                frame.fresh = False
                kind = role if role in ("block", "record") else "list"
                at = indent if kind == "list" or frame.kind == "list" else frame.current
                frames.append(_Frame(kind, at, at + _STEP))
                if i + 1 < last and self.tokens[i + 1].kind != "comment":
                    place = self._place(first, i + 1, line_indent, roles)
                    frames[-1].align = (self._column(self.tokens[i + 1].start), place)
            elif tok.kind == "op" and tok.text in (")", "]", "}") and len(frames) > 1:
                closed = frames.pop()
                frames[-1].fresh = closed.kind == "block"
            else:
                frame.fresh = tok.text == ";" or (tok.kind == "doc" and len(frames) == 1)
                if len(frames) == 1 and i <= 1:
                    frame.fresh = True  # `spec NAME` has no semicolon

    def _place(self, first: int, i: int, indent: int, roles: Sequence[str]) -> int:
        """The column of token `i` in its line, which begins with token `first` at `indent`."""
        line = self._write(first, i + 1, indent, roles)
        return len(line[: len(line) - len(self.tokens[i].text)].rsplit("\n", 1)[-1])

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
        # `var dirty [Page]`: a column of brackets or colons below a longer name may need one space.
        declares = self.tokens[first].text in ("var", "lock", "rwlock", "param", "define")
        column = roles[i] == "index" or (tok.text == ":" and self.text[tok.end : tok.end + 1] == " ")
        if written == 1 and (tok.text == ".." or prev.text == ".." or (declares and column)):
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
