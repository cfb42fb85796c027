"""`refines`: how each variable of the abstract spec is read off a state of this one."""

from __future__ import annotations

from hmmspec.diagnostics import did_you_mean
from hmmspec.lang import syntax as S
from hmmspec.system import expr as E
from hmmspec.system import system as core
from hmmspec.system.elaborate.names import ERROR
from hmmspec.system.elaborate.scope import Env
from hmmspec.system.elaborate.typing import Typer
from hmmspec.system.types import Array, Type, show_type


def refinement_map(
    refines: S.Refinement, abstract: core.System, typer: Typer, concrete: list[tuple[str, Type]]
) -> core.RefinementMap:
    """Every abstract variable as an expression over this spec's: the mapping's, or this spec's variable of that name.

    Types go by name: both must give a type the same values.  Reports abstract variables without a counterpart.
    """
    diagnostics = typer.diagnostics
    own = dict(concrete)
    mapped: dict[str, S.Mapping] = {}
    for m in refines.mappings:
        name = m.name.name if m.field is None else f"{m.name.name}.{m.field.name}"
        if name in mapped:
            diagnostics.error("HMM067", m.span, f"'{name}' is mapped twice")
        mapped[name] = m
    names = {v.name for v in abstract.variables}
    for name, m in mapped.items():
        if name not in names:
            diagnostics.error(
                "HMM068",
                m.name.span,
                f"'{abstract.name}' has no variable '{name}'",
                fix=did_you_mean(name, names),
            )
    out: list[core.MappedVariable] = []
    for v in abstract.variables:
        given = mapped.get(v.name)
        if given is not None:
            value = _mapping(given, v, typer)
            if value is not None:
                out.append(value)
        elif v.name not in own:
            diagnostics.error(
                "HMM067",
                refines.span,
                f"the variable '{v.name}' of '{abstract.name}' has no counterpart here",
                fix=f"say in `by {{ }}` what it is: `{v.name}.. = e;`",
            )
        elif own[v.name] != v.type:
            diagnostics.error(
                "HMM067",
                refines.span,
                f"'{v.name}' is {show_type(own[v.name])} here and {show_type(v.type)} in '{abstract.name}'",
                fix=f"say in `by {{ }}` how to read one off the other: `{v.name}.. = e;`",
            )
        else:
            out.append(core.MappedVariable(v.name, (), E.Var(v.name, v.type)))
    return core.RefinementMap(abstract, tuple(out), span=refines.span)


def _mapping(m: S.Mapping, v: core.Variable, typer: Typer) -> core.MappedVariable | None:
    if len(m.indices) != v.depth:
        typer.diagnostics.error(
            "HMM067",
            m.span,
            f"'{v.name}' has {v.depth} ind{'ex' if v.depth == 1 else 'ices'}, and {len(m.indices)} are given",
        )
        return None
    env, t = Env(), v.type
    binders: list[E.Binder] = []
    for i, d in enumerate(m.indices):
        assert isinstance(t, Array)
        given = typer.names.index_type(d)
        if given not in (ERROR, t.index):
            typer.diagnostics.error(
                "HMM067", d.span, f"this index is {show_type(t.index)} in the refined spec, not {show_type(given)}"
            )
            return None
        own = d.name.name if d.name else f"_{i}"
        if d.name:
            typer.check_new_name(d.name, env)
        local = E.Local(own, t.index, span=d.span)
        binders.append(E.Binder(own, t.index, E.OverType(t.index)))
        env = env.bind(own, local, d.span)
        t = t.element
    return core.MappedVariable(v.name, tuple(binders), typer.check(m.value, env, t))
