"""A program as a scenario that anybody can read, keep and run: what a random run found becomes a file."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from hmmspec.conform import commands as c
from hmmspec.conform.commands import Command
from hmmspec.conform.program import Program, Race, commands_of
from hmmspec.conform.scenario.forms import FORMS, RESERVED, Form

_BY_CLASS: Mapping[type[Command], Form] = {form.command: form for form in FORMS.values()}
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def scenario_text(
    program: Program, name: str, title: str = "", devices: Mapping[str, str] | None = None, comments: Sequence[str] = ()
) -> str:
    """The program as the text of a file with one scenario.  Every command may end in any way: it says what to do only.

    devices: the kind of memory of each device, as the target tells; comments: lines to stand before the scenario.
    Processes and devices keep their names, so far as the format allows; a process that the program never begins is
    left out with all that it does.
    """
    kinds = dict(devices or {})
    used = [d for d in kinds if d in {_device(command) for command in commands_of(program)}]
    out = [f"// {line}".rstrip() for line in comments]
    out.append(f"scenario {_word(name)}{_quoted(title)} {{")
    out.append("  process p0")
    out += _declared(used, kinds)
    if any(isinstance(step, Race) for step in program):
        out.append("  seeds 1")
    known = {"p0"}
    for step in program:
        if isinstance(step, Race):
            out += _race(step, known)
        else:
            out += [f"  {line}" for line in _lines([step], known)]
    return "\n".join([*out, "}"]) + "\n"


def command_text(command: Command) -> str:
    """One command as it is written, with its process: `p0: dev0.read [0, 4)`."""
    form = _BY_CLASS[type(command)]
    parts = [form.word]
    for lead in form.leads:
        field, _, choices = lead.partition(":")
        if lead == "range":
            parts.append(_pages(command))
        elif lead == "stamp":
            parts.append(f"= {getattr(command, 'stamp')}")  # noqa: B009  (the table says that it has one)
        else:
            parts.append(_choice(getattr(command, field), choices))
    parts += _modifiers(form, command)
    who = getattr(command, "process", "") if form.subject != "system" else ""
    device = f"{getattr(command, 'device')}." if form.subject == "device" else ""  # noqa: B009
    return f"{who}: {device}{' '.join(parts)}" if who else f"{device}{' '.join(parts)}"


def _modifiers(form: Form, command: Command) -> Iterator[str]:
    for word, modifier in form.modifiers.items():
        fits = all(_same(getattr(command, field), value) for field, value in modifier.sets)
        value = getattr(command, modifier.field) if modifier.field else None
        if not fits or (modifier.operand and value in (None, "")) or (word == "private"):
            continue
        if (word, value) in (("offset", 0), ("times", 1)):
            continue
        yield f"{word} {value}" if modifier.operand else word


def _same(value: object, text: str) -> bool:
    return value == text or (value is True and text == "true")


def _choice(value: object, choices: str) -> str:
    if isinstance(value, bool):
        return choices.split("|")[0 if value else 1]
    return str(value)


def _pages(command: Command) -> str:
    page, count = int(getattr(command, "page", 0)), int(getattr(command, "count", 1))
    return f"[{page}]" if count == 1 else f"[{page}, {page + count})"


def _device(command: Command) -> str:
    if isinstance(command, c.Mmap) and command.kind == "device":
        return command.source or ""
    return str(getattr(command, "device", ""))


def _declared(used: Sequence[str], kinds: Mapping[str, str]) -> Iterator[str]:
    """`device dev0, dev1 private`: all of a kind up to the last one used, so that each name is that device."""
    for kind in dict.fromkeys(kinds.values()):
        names = [d for d, k in kinds.items() if k == kind]
        last = max((i for i, d in enumerate(names) if d in used), default=-1)
        if last >= 0:
            yield f"  device {', '.join(names[: last + 1])} {kind}"


def _race(race: Race, known: set[str]) -> Iterator[str]:
    # What a thread begins is there for the others only afterwards, as far as the format goes.
    begun = set(known)
    threads = [_lines(thread, begun) for thread in race.threads]
    threads = [lines for lines in threads if lines]
    known |= begun
    if len(threads) < 2:
        yield from (f"  {line}" for lines in threads for line in lines)
        return
    yield "  race {"
    for lines in threads:
        who = lines[0].partition(":")[0]
        yield f"    thread {who} {{" if re.fullmatch(r"p[0-9]+", who) else "    thread {"
        yield from (f"      {line}" for line in lines)
        yield "    }"
    yield "  }"


def _lines(commands: Sequence[Command], known: set[str]) -> list[str]:
    out: list[str] = []
    for command in commands:
        process = getattr(command, "process", "")
        if isinstance(command, c.Spawn):
            known.add(process)
        elif process and process not in known:
            continue
        if isinstance(command, c.Fork):
            if command.child in known:
                continue
            known.add(command.child)
        out.append(f"{command_text(command)} -> any")
    return out


def _word(name: str) -> str:
    word = re.sub(r"[^A-Za-z0-9_]+", "_", name).strip("_") or "found"
    return word if _NAME.fullmatch(word) and word not in RESERVED else f"s_{word}"


def _quoted(title: str) -> str:
    return f' "{" ".join(title.split()).replace(chr(34), chr(39))}"' if title else ""
