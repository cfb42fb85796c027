"""Programs: lists of steps, each a command or several threads of commands at once; and running one on a target."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeAlias

from hmmspec.conform.commands import Command
from hmmspec.conform.results import Json
from hmmspec.conform.target import Target
from hmmspec.conform.wire import CommandError, command_from_json
from hmmspec.records import dataclass


@dataclass(frozen=True)
class Race:
    """Several threads at once.  The commands of one thread are of one process; `seed` is for the target's scheduler."""

    threads: tuple[tuple[Command, ...], ...]
    seed: int = 0


Step: TypeAlias = Command | Race
Program: TypeAlias = tuple[Step, ...]


def commands_of(program: Sequence[Step]) -> Iterator[Command]:
    """All commands, those of races thread by thread."""
    for step in program:
        if isinstance(step, Race):
            for thread in step.threads:
                yield from thread
        else:
            yield step


def length(program: Sequence[Step]) -> int:
    """How many commands there are."""
    return sum(1 for _ in commands_of(program))


def lines(program: Sequence[Step]) -> list[str]:
    """The program for people, a command on each line."""
    out: list[str] = []
    for step in program:
        if isinstance(step, Race):
            out.append(f"race seed={step.seed} {{")
            for number, thread in enumerate(step.threads):
                out.append(f"  t{number}: " + "; ".join(str(command) for command in thread))
            out.append("}")
        else:
            out.append(str(step))
    return out


def play(target: Target, program: Sequence[Step], seed: int = 0) -> None:
    """Reset the target and run the program; what happened is in its log.  Raises TargetLost."""
    target.reset(seed)
    batch: list[Command] = []
    for step in program:
        if isinstance(step, Race):
            if batch:
                target.run_all(batch)
                batch = []
            target.race(step.threads, step.seed)
        else:
            batch.append(step)
    if batch:
        target.run_all(batch)


def to_json(program: Sequence[Step]) -> list[Json]:
    """The program as JSON: commands, and `{"race": [[..], ..], "seed": 0}`."""
    out: list[Json] = []
    for step in program:
        if isinstance(step, Race):
            threads = [[command.to_json() for command in thread] for thread in step.threads]
            out.append({"race": threads, "seed": step.seed})
        else:
            out.append(step.to_json())
    return out


def from_json(data: object) -> Program:
    """The inverse.  Raises CommandError."""
    if not isinstance(data, list):
        raise CommandError("a program is a list of commands")
    return tuple(_step(item) for item in data)


def _step(item: object) -> Step:
    if not isinstance(item, dict) or "race" not in item:
        return command_from_json(item)
    threads, seed = item["race"], item.get("seed", 0)
    if not isinstance(threads, list) or not all(isinstance(t, list) for t in threads):
        raise CommandError('"race" is a list of lists of commands')
    if not isinstance(seed, int) or isinstance(seed, bool) or set(item) - {"race", "seed"}:
        raise CommandError('a race has "race" and a number "seed"')
    return Race(tuple(tuple(command_from_json(command) for command in thread) for thread in threads), seed)
