"""What the rest of a spec sees of a thread: its labels, arguments and locals, from its syntax alone."""

from __future__ import annotations

from hmmspec.lang import syntax as S
from hmmspec.system.elaborate.flow import (
    aliases,
    labels,
    with_start,
)
from hmmspec.system.elaborate.names import ERROR, Names, ThreadShape, arrays
from hmmspec.system.types import Enum, Type

STOPPED = "stopped"


def thread_shape(decl: S.Thread, names: Names) -> ThreadShape:
    """What expressions see of a thread, from its syntax alone.  Reports labels and locals defined twice."""
    body = with_start(decl.body, decl.name)
    merged = aliases(body)
    literals: dict[str, None] = {}
    seen: dict[str, S.Ident] = {}
    for label in labels(body):
        name = label.name
        if name.name in seen:
            names.diagnostics.error("HMM054", name.span, f"the label '{name.name}' occurs twice in '{decl.name.name}'")
        elif name.name == STOPPED:
            names.diagnostics.error("HMM054", name.span, "'stopped' is where a thread stands after its end")
        seen[name.name] = name
        if name.name not in merged and name.name != STOPPED:
            literals[name.name] = None
    params = tuple((p.name.name, names.stored_type(p.type)) for p in decl.params)
    kept: dict[str, Type] = {}
    for v in decl.locals:
        if v.name.name in kept or v.name.name in dict(params):
            names.diagnostics.error("HMM021", v.name.span, f"'{v.name.name}' is defined twice")
        index = tuple(names.index_type(i) for i in v.indices)
        t = names.stored_type(v.type)
        kept[v.name.name] = ERROR if ERROR in (*index, t) else arrays(index, t)
    return ThreadShape(
        decl,
        names.thread_index(decl),
        Enum(decl.name.name, (*literals, STOPPED)),
        merged,
        params,
        tuple(kept.items()),
    )
