"""Questions in SMT-LIB text, asked of Z3 and of cvc5 (which is there if it is installed).

They are asked in processes of their own, some questions in each, so that a solver that does not end costs its answer
and no more.  What is not answered soon is asked again, each question by itself and in another way.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Literal

import z3

from hmmspec.checker.parallel import Job, Told, in_parallel

Answer = Literal["unsat", "sat", "unknown"]
TOGETHER = 20  # questions that one process is asked
TRIES = 3
SOON = 2.0  # seconds of the first try: most answers take a few hundredths
GRACE = 3.0  # seconds more that a process gets
INSTALL = 'pip install "hmmspec[cvc5]"'
_STATUS = re.compile(r"^\(set-info :status [a-z]+\)\n", re.MULTILINE)


@dataclass(frozen=True)
class Question:
    """A text that asks one thing; file and number: which of which file; expected: what is hoped for."""

    file: str
    number: int
    text: str
    expected: Answer = "unsat"


@dataclass(frozen=True)
class Answered:
    """What a solver says, and how long it took."""

    question: Question
    solver: str
    answer: Answer
    seconds: float


def installed() -> tuple[str, ...]:
    """The solvers that can be asked."""
    return ("z3", "cvc5") if find_spec("cvc5") is not None else ("z3",)


def version(solver: str) -> str:
    """Of a solver."""
    if solver == "z3":
        return str(z3.get_version_string())
    return str(import_module("cvc5").__version__)


def ask_all(
    questions: Sequence[Question],
    solvers: Sequence[str],
    seconds: float,
    jobs: int,
    told: Callable[[int, int], None] | None = None,
) -> list[Answered]:
    """The answers of every solver to every question.  seconds: for each; told: how many questions are done, of how
    many."""
    if "cvc5" in solvers:
        import_module("cvc5")  # once, for all processes
    starts = range(0, len(questions), TOGETHER)
    work = [(solver, tuple(questions[at : at + TOGETHER])) for at in starts for solver in solvers]
    out: list[Answered] = []
    again: list[tuple[str, tuple[Question, ...]]] = []
    for tries in range(TRIES):
        for found in _round(work, seconds if tries else min(seconds, SOON), jobs, tries):
            for a in found:
                if a.answer == "unknown" and tries < TRIES - 1:
                    again.append((a.solver, (a.question,)))
                else:
                    out.append(a)
            if told is not None:
                told(len(out), len(questions) * len(solvers))
        work, again = again, []
    return out


def _round(
    work: Sequence[tuple[str, tuple[Question, ...]]], seconds: float, jobs: int, tries: int
) -> Iterable[list[Answered]]:
    """The answers to each piece of work.  Those that came before a solver hung are kept."""
    early: dict[int, list[Answered]] = {}

    def late(number: int, *_: object) -> list[Answered]:
        solver, questions = work[number]
        known = early.get(number, [])
        return [*known, *(Answered(q, solver, "unknown", 0.0) for q in questions[len(known) :])]

    made = [
        Job(
            f"{solver} on {questions[0].file}",
            partial(_answers, solver, questions, seconds, tries),
            # What a solver does not notice itself ends soon after.
            GRACE + seconds * (2 if len(questions) == 1 else min(len(questions), 4)),
            partial(late, number),
        )
        for number, (solver, questions) in enumerate(work)
    ]

    def heard(number: int, what: object) -> None:
        if isinstance(what, Answered):
            early.setdefault(number, []).append(what)

    yield from in_parallel(made, jobs, heard)


def _answers(solver: str, questions: Sequence[Question], seconds: float, tries: int, told: Told) -> list[Answered]:
    out: list[Answered] = []
    for q in questions:
        begin = time.monotonic()
        answer = ask(solver, q.text, seconds, (q.expected == "sat") ^ (tries == TRIES - 1), tries)
        out.append(Answered(q, solver, answer, time.monotonic() - begin))
        told(out[-1])
    return out


def ask(solver: str, text: str, seconds: float, model: bool = False, tries: int = 0) -> Answer:
    """What a solver says to one question.  model: whether to look for a model, not for a contradiction, as far as there
    is a choice; tries: how often it was asked before."""
    plain = _STATUS.sub("", text)
    return _z3(plain, seconds, tries) if solver == "z3" else _cvc5(plain, seconds, model, tries)


def _z3(text: str, seconds: float, tries: int) -> Answer:
    solver = z3.Solver()
    solver.set("timeout", round(1000 * seconds))
    if tries:
        solver.set("random_seed", tries)
    solver.from_string(text)
    return _answer(str(solver.check()))


def _cvc5(text: str, seconds: float, model: bool, tries: int) -> Answer:
    """Finite models are looked for, or else terms are enumerated; but for the first try, with quantifiers as far in as
    they go: what takes for ever without that is quick with it, and the other way round."""
    cvc5: Any = import_module("cvc5")
    solver = cvc5.Solver()
    solver.setOption("tlimit-per", str(round(1000 * seconds)))
    solver.setOption("finite-model-find" if model else "enum-inst", "true")
    if tries:
        solver.setOption("miniscope-quant", "agg")
    parser = cvc5.InputParser(solver)
    parser.setStringInput(cvc5.InputLanguage.SMT_LIB_2_6, text, "question")
    symbols = parser.getSymbolManager()
    said = ""
    while not (command := parser.nextCommand()).isNull():
        said += command.invoke(solver, symbols)
    return _answer(said.split()[0] if said else "")


def _answer(said: str) -> Answer:
    return said if said in ("sat", "unsat") else "unknown"  # type: ignore[return-value]
