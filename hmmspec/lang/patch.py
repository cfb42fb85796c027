"""`patches`: the changes that a patch makes to a spec, applied to its list of declarations."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from hmmspec.diagnostics import Diagnostics, Note, did_you_mean
from hmmspec.lang import syntax as s

_KINDS: dict[type[s.Node], str] = {
    s.ParamDecl: "param",
    s.TypeDecl: "type",
    s.VarDecl: "var",
    s.Define: "define",
    s.Machine: "machine",
    s.Transition: "transition",
    s.Thread: "thread",
    s.Procedure: "procedure",
    s.Observe: "observe",
    s.Instance: "instance",
}


def name_of(declaration: s.Declaration) -> s.Ident | None:
    """The name that a declaration declares; None for `fair`, `event`, `source`, `expect`, `prove` and `import`."""
    match declaration:
        case s.Fair() | s.Event() | s.SourceAnchor() | s.ExpectViolates() | s.ExpectCount() | s.Prove() | s.Import():
            return None
        case _:
            return declaration.name


def kind_of(declaration: s.Declaration) -> str:
    """What a declaration is, for a message: `machine`, `invariant`."""
    if isinstance(declaration, (s.Property, s.LockDecl)):
        return declaration.kind
    return _KINDS.get(type(declaration), "declaration")


def clash(declaration: s.Declaration, others: Iterable[s.Declaration], diags: Diagnostics) -> bool:
    """HMM063 if a declaration that a patch adds is there already."""
    name = name_of(declaration)
    if name is None:
        return False
    for other in others:
        known = name_of(other)
        if known is not None and known.name == name.name and _same_space(declaration, other):
            diags.error(
                "HMM063",
                name.span,
                f"'{name.name}' is already declared in the spec that is patched",
                notes=[Note(f"the {kind_of(other)} is here", known.span)],
                fix=f"write 'replace {kind_of(declaration)} {name.name} ...' inside the patches block to change it",
            )
            return True
    return False


def apply_patches(
    declarations: Sequence[s.Declaration], items: Iterable[s.PatchItem], diags: Diagnostics
) -> list[s.Declaration]:
    """The declarations after every item, in order.  An item that cannot be applied is reported and skipped."""
    result = list(declarations)
    for item in items:
        match item:
            case s.Add(declaration):
                if not clash(declaration, result, diags):
                    result.append(declaration)
            case s.Replace(declaration):
                _replace(result, declaration, diags)
            case s.ReplaceIn():
                _replace_in(result, item, diags)
            case s.Remove(name):
                result = _remove(result, name, diags)
    return result


def _same_space(one: s.Declaration, other: s.Declaration) -> bool:
    """Instances are named on the command line only, and apart from everything else."""
    return isinstance(one, s.Instance) == isinstance(other, s.Instance)


def _unknown(name: s.Ident, declarations: Iterable[s.Declaration], diags: Diagnostics) -> None:
    known: list[str] = []
    notes: list[Note] = []
    for declaration in declarations:
        ident = name_of(declaration)
        if ident is not None:
            known.append(ident.name)
        if isinstance(declaration, s.Machine):
            known.extend(arrow.name.name for arrow in declaration.arrows)
            for arrow in declaration.arrows:
                if arrow.name.name == name.name and not notes:
                    text = (
                        f"'{name.name}' is an arrow of the machine '{declaration.name.name}': "
                        f"write 'replace {declaration.name.name} {{ ... }}'"
                    )
                    notes.append(Note(text, arrow.name.span))
    fix = None if notes else did_you_mean(name.name, known)
    diags.error("HMM062", name.span, f"the patched spec declares no '{name.name}'", notes=notes, fix=fix)


# ---------------------------------------------------------------- replace


def _replace(declarations: list[s.Declaration], new: s.Declaration, diags: Diagnostics) -> None:
    name = name_of(new)
    if name is None:
        diags.error(
            "HMM065",
            new.span,
            "only a declaration with a name can be replaced",
            fix="write 'add' for one more line of this kind",
        )
        return
    for i, old in enumerate(declarations):
        known = name_of(old)
        if known is not None and known.name == name.name and _same_space(new, old):
            declarations[i] = new
            return
    _unknown(name, declarations, diags)


def _replace_in(declarations: list[s.Declaration], item: s.ReplaceIn, diags: Diagnostics) -> None:
    for i, old in enumerate(declarations):
        known = name_of(old)
        if known is None or known.name != item.name.name or isinstance(old, s.Instance):
            continue
        match old:
            case s.Machine() if item.arrows:
                declarations[i] = _replace_arrows(old, item.arrows, diags)
            case s.Thread() if item.body:
                declarations[i] = replace(old, body=_replace_steps(old, item, diags))
            case s.Procedure() if item.body:
                declarations[i] = replace(old, body=_replace_steps(old, item, diags))
            case s.Machine() | s.Thread() | s.Procedure():
                has, wants = ("arrows", "labelled steps") if item.body else ("labelled steps", "arrows")
                diags.error(
                    "HMM064",
                    item.span,
                    f"'{known.name}' is a {kind_of(old)} and has {has}, not {wants}",
                    notes=[Note("it is declared here", known.span)],
                )
            case _:
                diags.error(
                    "HMM064",
                    item.name.span,
                    f"'{known.name}' is a {kind_of(old)}: it has no arrows or steps to replace",
                    notes=[Note("it is declared here", known.span)],
                    fix=f"write 'replace {kind_of(old)} {known.name} ...' to replace it as a whole",
                )
        return
    _unknown(item.name, declarations, diags)


def _replace_arrows(machine: s.Machine, arrows: Sequence[s.Arrow], diags: Diagnostics) -> s.Machine:
    """All arrows of a name give way to the new ones of that name, at the place of the first."""
    groups: dict[str, list[s.Arrow]] = {}
    for arrow in arrows:
        groups.setdefault(arrow.name.name, []).append(arrow)
    known = {arrow.name.name for arrow in machine.arrows}
    for name, group in groups.items():
        if name not in known:
            diags.error(
                "HMM062",
                group[0].name.span,
                f"the machine '{machine.name.name}' has no arrow '{name}' to replace",
                notes=[Note("it is declared here", machine.name.span)],
                fix=did_you_mean(name, known) or f"write 'replace machine {machine.name.name} ...' to add arrows",
            )
    result: list[s.Arrow] = []
    done: set[str] = set()
    for arrow in machine.arrows:
        name = arrow.name.name
        if name not in groups:
            result.append(arrow)
        elif name not in done:
            done.add(name)
            result.extend(groups[name])
    return replace(machine, arrows=tuple(result))


def _replace_steps(owner: s.Thread | s.Procedure, item: s.ReplaceIn, diags: Diagnostics) -> s.Block:
    body = owner.body
    segments = _segments(item.body)
    if segments[0][0] is None:
        diags.error(
            "HMM065",
            segments[0][1][0].span,
            f"the steps that replace those of '{owner.name.name}' begin with a label",
            fix="write the label of the step that these statements replace, such as 'take:'",
        )
        return body
    for label, new in segments:
        assert label is not None
        changed = _replace_step(body, label.name.name, new)
        if changed is None and label.name.name == "start" and body and not isinstance(body[0], s.Label):
            # What stands before the first label is the step `start`.
            first = next((i for i, stmt in enumerate(body) if isinstance(stmt, s.Label)), len(body))
            changed = new + body[first:]
        if changed is None:
            known = list(_labels(body))
            fix = did_you_mean(label.name.name, known)
            diags.error(
                "HMM062",
                label.span,
                f"the {kind_of(owner)} '{owner.name.name}' has no step '{label.name.name}' to replace",
                notes=[Note("it is declared here", owner.name.span)],
                fix=fix or (f"its labels are {', '.join(known[:12])}" if known else None),
            )
        else:
            body = changed
    return body


def _segments(body: s.Block) -> list[tuple[s.Label | None, s.Block]]:
    """A block cut at its labels: each with what follows it.  The first has no label if the block begins without."""
    result: list[tuple[s.Label | None, s.Block]] = []
    for stmt in body:
        if isinstance(stmt, s.Label):
            result.append((stmt, (stmt,)))
        elif result:
            label, stmts = result[-1]
            result[-1] = (label, (*stmts, stmt))
        else:
            result.append((None, (stmt,)))
    return result


def _replace_step(body: s.Block, label: str, new: s.Block) -> s.Block | None:
    """`body` with the step at `label` replaced, wherever it is nested; None if there is no such label."""
    segments = _segments(body)
    for i, (head, _) in enumerate(segments):
        if head is not None and head.name.name == label:
            parts = [old for _, old in segments]
            parts[i] = new
            return tuple(stmt for part in parts for stmt in part)
    for i, stmt in enumerate(body):
        for inner, rebuild in _blocks(stmt):
            changed = _replace_step(inner, label, new)
            if changed is not None:
                return (*body[:i], rebuild(changed), *body[i + 1 :])
    return None


def _blocks(stmt: s.Stmt) -> list[tuple[s.Block, Callable[[s.Block], s.Stmt]]]:
    """The blocks inside a statement, each with the way to put another in its place."""
    match stmt:
        case s.If():
            return [
                (stmt.then, lambda block: replace(stmt, then=block)),
                (stmt.otherwise, lambda block: replace(stmt, otherwise=block)),
            ]
        case s.For() | s.While():
            return [(stmt.body, lambda block: replace(stmt, body=block))]
        case s.Either(branches):

            def branch(i: int) -> Callable[[s.Block], s.Stmt]:
                return lambda block: replace(stmt, branches=(*branches[:i], block, *branches[i + 1 :]))

            return [(block, branch(i)) for i, block in enumerate(branches)]
        case _:
            return []


def _labels(body: s.Block) -> Iterable[str]:
    for stmt in body:
        if isinstance(stmt, s.Label):
            yield stmt.name.name
        for inner, _ in _blocks(stmt):
            yield from _labels(inner)


# ---------------------------------------------------------------- remove


def _remove(declarations: list[s.Declaration], name: s.Ident, diags: Diagnostics) -> list[s.Declaration]:
    """Without what `name` names: a declaration, else the arrows of that name.  Lists forget it too."""
    gone: list[s.Declaration] = []
    for declaration in declarations:
        known = name_of(declaration)
        if known is not None and known.name == name.name:
            gone.append(declaration)
    # Of an instance and something else with one name, the something else is meant first.
    gone.sort(key=lambda d: isinstance(d, s.Instance))
    before = _step_names(declarations)
    if gone:
        result = [d for d in declarations if d is not gone[0]]
    elif any(name.name == arrow.name.name for d in declarations if isinstance(d, s.Machine) for arrow in d.arrows):
        result = [
            replace(d, arrows=tuple(a for a in d.arrows if a.name.name != name.name)) if isinstance(d, s.Machine) else d
            for d in declarations
        ]
    else:
        _unknown(name, declarations, diags)
        return declarations
    lost = before - _step_names(result)
    return [kept for d in result if (kept := _forget(d, lost, name.name)) is not None]


def _step_names(declarations: Iterable[s.Declaration]) -> set[str]:
    """What `fair`, `event` and `source` can name."""
    names: set[str] = set()
    for declaration in declarations:
        match declaration:
            case s.Machine():
                names.update(arrow.name.name for arrow in declaration.arrows)
            case s.Transition() | s.Thread():
                names.add(declaration.name.name)
            case _:
                pass
    return names


def _forget(declaration: s.Declaration, steps: set[str], name: str) -> s.Declaration | None:
    """A list without the names that are gone; None if nothing of it is left."""
    match declaration:
        case s.Fair() | s.Event() | s.SourceAnchor() if declaration.steps:
            left = tuple(step for step in declaration.steps if step.name not in steps)
            return replace(declaration, steps=left) if left else None
        case s.Prove():
            properties = tuple(ident for ident in declaration.properties if ident.name != name)
            every = tuple(ident for ident in declaration.every if ident.name != name)
            return replace(declaration, properties=properties, every=every) if properties and every else None
        case _:
            return declaration
