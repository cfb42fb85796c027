"""Limits on nesting, so that no later pass over a tree can overflow Python's stack.

A spec that somebody wrote is never near them; a generated or broken one gets a plain message.
"""

from __future__ import annotations

from collections.abc import Sequence

from hmmspec.diagnostics import Diagnostics, Note, Source, Span
from hmmspec.lang import syntax
from hmmspec.lang.lexer import Tok

# Brackets within brackets, whether or not they make nodes.
MAX_BRACKETS = 200
# Nodes within nodes below a declaration, weighed by how many frames a recursive pass needs for them: about three for a
# weight of one.  Python allows 1000 frames in all.
MAX_DEPTH = 150
_WEIGHTS: dict[type[syntax.Node], int] = {
    **dict.fromkeys((syntax.If, syntax.For, syntax.While, syntax.Either), 3),
    **dict.fromkeys((syntax.Call, syntax.RecordLit, syntax.SetLit, syntax.SetComp, syntax.Quant, syntax.RecordType), 2),
}


def check_brackets(source: Source, tokens: Sequence[Tok], diags: Diagnostics) -> None:
    """HMM009 where brackets are nested too deep."""
    depth = 0
    for tok in tokens:
        if tok.kind != "op":
            continue
        if tok.text in "([{":
            depth += 1
            if depth > MAX_BRACKETS:
                span = Span(source, tok.start, tok.end)
                _too_deep(diags, span, "brackets are nested too deep", f"at most {MAX_BRACKETS} may be open at once")
                return
        elif tok.text in ")]}":
            depth = max(0, depth - 1)


def check_depth(root: syntax.Node, diags: Diagnostics) -> None:
    """HMM009 where nodes of a built tree are nested too deep, once for each declaration."""
    tops: tuple[syntax.Node, ...] = (root,)
    if isinstance(root, syntax.File):
        tops = root.declarations if root.header is None else (*root.declarations, root.header)
    for top in tops:
        stack: list[tuple[syntax.Node, int]] = [(top, 1)]
        while stack:
            node, depth = stack.pop()
            if depth > MAX_DEPTH:
                limit = f"at most {MAX_DEPTH} levels: an operator is one, a call, set or quantifier two, a block three"
                _too_deep(diags, node.span, "this is nested too deep", limit)
                break
            for name in node.__dataclass_fields__:  # the span among them is no node
                value = getattr(node, name)
                children = value if isinstance(value, tuple) else (value,)
                stack.extend((c, depth + _WEIGHTS.get(type(c), 1)) for c in children if isinstance(c, syntax.Node))


def _too_deep(diags: Diagnostics, span: Span, message: str, limit: str) -> None:
    diags.error(
        "HMM009",
        Span(span.source, span.start, min(span.end, span.start + 1)),
        message,
        notes=(Note(limit),),
        fix="name the parts with 'define', or use a quantifier over a type or a set",
    )
