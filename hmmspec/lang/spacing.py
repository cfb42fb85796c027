"""What each token of a file is for, as far as its spaces and its line's indentation depend on it."""

from __future__ import annotations

from collections.abc import Sequence

from hmmspec.lang.lexer import Tok

# One level, here and in the printer.
INDENT = "  "

# After these a `{` opens a block even though no operand stands before it.
_BLOCK_HEADS = frozenset(["either", "or", "else", "by"])
# Braces with a space inside; sets have none.
_SPACED = frozenset(["block", "record", "body"])
# Words that end an operand, unlike the other keywords: `x in S` goes on with an operand after `in`.
_OPERAND_WORDS = frozenset(["true", "false", "null", "bool", "int", "any"])
_CALLED_WORDS = frozenset(["count", "sum", "min", "max", "held", "mine", "push", "pop"])
_PREFIX_WORDS = frozenset(
    """if then else while for when await return in of let or either acquire release goto choose call trylock assert
    fair event source import param type var define observe machine states initial lock rwlock transition thread
    procedure invariant step reachable leads_to recoverable terminal assume strongly instance expect prove spec
    forall exists enum record symmetric set queue""".split()
)


def classify(tokens: Sequence[Tok]) -> list[str]:
    """A role for each token, empty for most.

    "block": braces around statements or declarations; "record": those around the fields of a type; "body": those around
    the body of a quantifier or the members of an enum; "label" and "label colon"; "unary": `!`, and a minus without a
    left operand; "index": a `[` after a name; "call": a `(` after what it calls.
    """
    roles = [""] * len(tokens)
    code = [i for i, tok in enumerate(tokens) if tok.kind != "comment"]
    stack: list[_Open] = [_Open(-1, "block", statements=False)]
    for at, i in enumerate(code):
        tok = tokens[i]
        prev = tokens[code[at - 1]] if at else None
        following = tokens[code[at + 1]] if at + 1 < len(code) else None
        top = stack[-1]
        if tok.kind == "name":
            if tok.text in ("forall", "exists"):
                top.quantifiers += 1
            if top.fresh and top.statements and following is not None and following.text == ":":
                roles[i], roles[code[at + 1]] = "label", "label colon"
            if tok.text == "then":
                top.thens += 1
            top.fresh = False
        elif tok.kind == "op":
            _operator(i, tok, prev, roles, stack)
        else:
            top.fresh = False
        if at == 1:
            stack[0].fresh = True  # `spec NAME` has no semicolon
    return roles


class _Open:
    """An open bracket and what was seen in it since the last statement began."""

    def __init__(self, at: int, role: str, *, statements: bool) -> None:
        self.at = at
        self.role = role
        self.statements = statements
        self.fresh = True
        self.quantifiers = 0
        self.thens = 0

    def restart(self) -> None:
        self.fresh, self.quantifiers, self.thens = True, 0, 0


def _operator(i: int, tok: Tok, prev: Tok | None, roles: list[str], stack: list[_Open]) -> None:
    top = stack[-1]
    operand = prev is not None and _ends_operand(prev)
    match tok.text:
        case "(" | "[":
            if operand:
                roles[i] = "call" if tok.text == "(" else "index"
            top.fresh = False
            stack.append(_Open(i, roles[i], statements=False))
        case "{":
            role, statements = _brace(prev, operand, top)
            roles[i] = role
            top.fresh = False
            stack.append(_Open(i, role, statements=statements))
        case ")" | "]" | "}":
            if len(stack) > 1:
                closed = stack.pop()
                roles[i] = closed.role
                if closed.role == "block":
                    stack[-1].restart()
        case ";":
            top.restart()
        case ":":
            if roles[i] == "label colon":
                top.restart()
        case "!":
            roles[i] = "unary"
            top.fresh = False
        case "-" if not operand:
            roles[i] = "unary"
            top.fresh = False
        case _:
            top.fresh = False


def _brace(prev: Tok | None, operand: bool, top: _Open) -> tuple[str, bool]:
    """The role of an opening brace, and whether statements with labels may stand in it."""
    if prev is None or top.fresh:
        return "", False  # the source states of an arrow
    if top.quantifiers and operand:
        top.quantifiers -= 1
        return "body", False
    if prev.text == "enum" and prev.kind == "name":
        return "body", False
    if prev.text == "record" and prev.kind == "name":
        return "record", False
    if prev.kind == "name" and prev.text == "else" and top.thens:
        top.thens -= 1
        return "", False
    if top.role == "block" and (operand or (prev.kind == "name" and prev.text in _BLOCK_HEADS)):
        return "block", True
    return "", False


def _ends_operand(tok: Tok) -> bool:
    match tok.kind:
        case "name":
            return tok.text in _OPERAND_WORDS or tok.text not in _PREFIX_WORDS
        case "op":
            return tok.text in (")", "]", "}", "'", "?")
        case _:
            return True


def space_between(left: Tok, right: Tok, left_role: str, right_role: str) -> bool:
    """Whether one space stands between two tokens of a line."""
    a, b = left.text, right.text
    if right.kind != "op" and left.kind != "op":
        return True
    if left_role == "unary" or (left.kind == "op" and a in ("(", "[", ".", "..")):
        return False
    if left.kind == "op" and a == "{" and b != "}":
        return left_role in _SPACED
    if right.kind == "op":
        match b:
            case ")" | "]" | "," | ";" | ":" | "." | ".." | "'" | "?":
                return False
            case "(":
                if left.kind == "name" and a in _CALLED_WORDS:
                    return False
                if left.kind == "name" and a == "read":
                    return False
                return right_role != "call"
            case "[":
                return right_role != "index" and not (left.kind == "name" and a in ("symmetric", "queue"))
            case "}":
                return right_role in _SPACED
            case _:
                pass
    return True
