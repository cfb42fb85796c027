"""Certificates: written, checked again from the spec and the invariant alone, and refused when anything has changed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from hmmspec.checker.symbolic import solvers
from hmmspec.checker.symbolic.certificate import certificate, write_certificate
from hmmspec.checker.symbolic.header import plain_system, read_header
from hmmspec.checker.symbolic.induction import Claim, Induction
from hmmspec.checker.symbolic.obligations import Obligations
from hmmspec.checker.symbolic.recheck import NotACertificate, RecheckOptions, certificates_in, recheck
from hmmspec.checker.symbolic.samples import Instances
from hmmspec.checker.symbolic.smt import separate
from hmmspec.cli.main import main
from hmmspec.diagnostics import Limit, Source, SpecError
from hmmspec.lang.load import load, load_source
from hmmspec.system import expr as E
from hmmspec.system.build import build, build_all
from hmmspec.system.system import Invariant
from tests.symbolic.certified import HAVE_CVC5, LEMMAS, PAGES, PROVED, by_hand, checked

# ---------------------------------------------------------------- there and back


@pytest.mark.skipif(not HAVE_CVC5, reason="cvc5 is not installed")
def test_both_solvers_show_it_again(written: Path) -> None:
    found = checked(written, "z3", "cvc5")
    assert [(c.obligation.file, c.told) for c in found.checked if c.status != "shown"] == []
    assert all(c.by == ("z3", "cvc5") for c in found.checked)
    assert (found.exit_code, found.stale, found.wrong, found.never) == (0, "", (), ("odd",))
    kinds = [c.obligation.kind for c in found.checked]
    assert [kinds.count(k) for k in ("initiation", "consecution", "safety", "start", "enabled")] == [3, 8, 4, 1, 8]


def test_what_is_in_the_folder(written: Path) -> None:
    assert written.name == "pages-default-Page-Cpu"
    header = read_header((written / "certificate.json").read_text())
    assert list(header.proved) == list(PROVED)
    assert (header.lemmas, header.never, header.uses) == (["lemma_1", "lemma_2"], ["enabled-odd.smt2"], [])
    assert header.sizes == ["PAGES", "CPUS"]
    assert sorted([*header.files, "certificate.json"]) == sorted(p.name for p in written.iterdir())
    text = (written / "invariant.hmm").read_text()
    assert "lemma_2: forall c: Cpu { worker[c] == put <=> holder(lru) == worker[c] };" in text
    # It is a spec like any other: the lemmas can be looked at in an instance.
    strengthened = build(load(str(written / "invariant.hmm")))
    assert {"lemma_1", "lemma_2"} <= {p.name for p in strengthened.properties}
    consecution = (written / "consecution-move.smt2").read_text()
    assert "(declare-fun |place:0| (Page) Bool)" in consecution
    assert "; it changes nothing that is read by lemma_1" in consecution
    assert consecution.count("(check-sat)") == 1
    assert "(set-info :status unsat)" in consecution
    assert "(set-info :status sat)" in (written / "enabled-move.smt2").read_text()
    assert "(set-info :status unsat)" in (written / "enabled-odd.smt2").read_text()


OPTIONAL = """\
spec optional
param USERS = 2;
type User = symmetric[USERS];
type Where = record { side: 0..3; far: bool; };
var going[User]: Where? = null;
transition go(u: User, w: Where) when going[u] == null && w.side != 2 { going[u] := w; }
transition stay(u: User) when going[u] != null { going[u] := null; }
invariant sides: forall u: User | going[u] != null { going[u].side != 2 };
"""


def test_symbols_hold_no_bars(tmp_path: Path) -> None:
    """A member of an optional record has a bar in its name, which SMT-LIB has no room for."""
    path = tmp_path / "optional.hmm"
    path.write_text(OPTIONAL)
    folder = write_certificate(tmp_path, *by_hand(path, ("sides",), {}, ("User",)))
    text = (folder / "consecution-go.smt2").read_text()
    assert "(declare-fun |going/1.side:0| (User) Bool)" in text
    found = checked(folder)
    assert [(c.obligation.file, c.told) for c in found.checked if c.status != "shown"] == []
    assert found.exit_code == 0


def test_the_same_bytes_whatever_the_order_of_sets(path: Path, written: Path) -> None:
    program = (
        "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[2]);"
        "from tests.symbolic.test_certificate import by_hand, write_certificate;"
        "write_certificate(Path(sys.argv[1]).parent / 'again', *by_hand(Path(sys.argv[1])))"
    )
    root = str(Path(__file__).resolve().parents[2])
    environment = {**os.environ, "PYTHONHASHSEED": "4711"}
    subprocess.run([sys.executable, "-c", program, str(path), root], check=True, env=environment, cwd=root, timeout=120)
    again = path.parent / "again" / written.name
    assert {p.name: p.read_bytes() for p in written.iterdir()} == {p.name: p.read_bytes() for p in again.iterdir()}


def test_texts_say_what_z3_is_asked_by_the_prover(path: Path) -> None:
    """Every question of a certificate, false claims included, has the answer that the prover's own terms have."""
    spec, proved = by_hand(path, (*PROVED, "false_one"))
    made = Obligations(proved.system, proved.goal.every, proved.claims, proved.lemmas)
    induction = Induction(made.encoding, Instances(spec, proved.system, proved.goal.every))
    known = [induction.holds(c) for c in made.invariant]
    answers = set()
    for o in made.all():
        if o.kind != "consecution" or o.empty:
            continue
        step = next(s for s in made.encoding.steps if s.rule.number == o.rule)
        for remark, text in separate(o.text):
            c = next(c for c in made.invariant if remark.startswith(f"{c.name} does not"))
            said = solvers.ask("z3", text, 20)
            assert said == ("sat" if induction.satisfiable([*known, induction.broken(c, step)]) else "unsat")
            answers.add(said)
    assert answers == {"sat", "unsat"}


# ---------------------------------------------------------------- tampering


def edited(name: str, old: str, new: str) -> Callable[[Path], None]:
    def do(folder: Path) -> None:
        text = (folder / name).read_text()
        assert old in text
        (folder / name).write_text(text.replace(old, new, 1))

    return do


def removed(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (edited("initiation-stays.smt2", "(check-sat)", "(check-sat) "), "initiation-stays.smt2 is not what"),
        (edited("consecution-pin.smt2", "(assert", "(assert true)\n(assert"), "consecution-pin.smt2 is not what"),
        (edited("safety-stays.smt2", "(set-logic UF)", "(assert false)"), "safety-stays.smt2 is not what"),
        (edited("start.smt2", "sat", "unsat"), "start.smt2 is not what"),
        (edited("enabled-move.smt2", "; enabled", "; always enabled"), "enabled-move.smt2 is not what"),
        (removed("consecution-take.smt2"), "consecution-take.smt2 is missing"),
        (lambda folder: (folder / "more.smt2").write_text("(check-sat)"), "more.smt2 does not belong to it"),
        (lambda folder: (folder / "start.smt2").write_bytes(b"\xff\xfe"), "start.smt2 is not what"),
        (edited("invariant.hmm", "// With", "// Together with"), "invariant.hmm has been changed"),
        (edited("certificate.json", '"lemma_2"', '"lemma_3"'), "certificate.json has another 'lemmas'"),
        (
            edited("certificate.json", '"left_out": []', '"left_out": [\n    "x"\n  ]'),
            "certificate.json has another 'left_out'",
        ),
        (edited("certificate.json", "invariant", "step"), "certificate.json has another 'proved'"),
        (edited("certificate.json", '  "format"', ' "format"'), "certificate.json has been changed"),
    ],
)
def test_a_file_that_has_been_changed_is_named(written: Path, change: Callable[[Path], None], named: str) -> None:
    change(written)
    found = checked(written)
    assert found.exit_code == 1
    assert len(found.wrong) == 1
    assert found.wrong[0].startswith(named)
    # What is asked is made anew, so all of it is shown still.
    assert all(c.status == "shown" for c in found.checked)


def test_a_step_that_is_said_to_be_never_possible_and_is(written: Path) -> None:
    edited("certificate.json", '"enabled-odd.smt2"\n', '"enabled-odd.smt2", "enabled-move.smt2"\n')(written)
    found = checked(written)
    assert found.exit_code == 1
    assert any("move is possible, and the certificate says" in c.told for c in found.checked)


def test_a_step_that_is_not_said_to_be_never_possible_and_is_not(written: Path) -> None:
    edited("certificate.json", '[\n    "enabled-odd.smt2"\n  ]', "[]")(written)
    found = checked(written)
    assert any(c.told.startswith("odd is possible in no state with the invariant (z3)") for c in found.checked)


def test_a_property_that_was_not_proved(written: Path) -> None:
    edited("certificate.json", '"stays"', '"false_one"')(written)
    assert checked(written).stale == "invariant 'stays' is gone, invariant 'false_one' is new"
    edited("certificate.json", "invariant 'stays'", "invariant 'false_one'")(written)
    assert checked(written).exit_code == 1


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (removed("invariant.hmm"), "invariant.hmm is missing"),
        (edited("certificate.json", "{", ""), "certificate.json is not JSON"),
        (edited("certificate.json", "hmmspec certificate", "another"), "not the header of a certificate"),
        (edited("certificate.json", '"version": 1', '"version": 7'), "version 7 of the format"),
        (edited("certificate.json", '"spec"', '"spek"'), "no usable 'spec'"),
        (edited("certificate.json", '"foreign_release"', '"deadlock"'), "deadlock is nothing that a certificate shows"),
    ],
)
def test_what_is_no_certificate(
    written: Path, change: Callable[[Path], None], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    change(written)
    with pytest.raises(NotACertificate, match=why):
        checked(written)
    assert main(["recheck", str(written), "--solver", "z3"]) == 2
    assert "HMM102" in capsys.readouterr().err


def test_an_invariant_that_says_something_else(written: Path) -> None:
    for new, why in (
        ("spec x\ninvariant a: true;", "must be a patch"),
        ('spec x patches "y" { remove stays; }', "must be a patch"),
        ('spec x patches "y" { add invariant lemma_1: nowhere[1]; }', "not defined"),
        ("spec", "a name"),
    ):
        (written / "invariant.hmm").write_text(new)
        with pytest.raises(SpecError) as error:
            checked(written)
        assert any(why in d.message for d in error.value.diagnostics), error.value.diagnostics


# ---------------------------------------------------------------- a changed spec


@pytest.mark.parametrize(
    ("old", "new", "stale"),
    [
        ("// not while it moves", "// whatever", ""),
        ('"pinned pages stay"', '"they do"', ""),
        ("invariant false_one: forall p: Page { owner[p] == null };\n", "", ""),
        ("param PAGES = 2;", "param PAGES = 5;", ""),
        ("reachable away", "reachable gone", ""),
        ("when owner[p] == c ", "when owner[p] != null ", "step 'move' has changed"),
        ("transition odd", "transition weird", "step 'odd' is gone, step 'weird' is new"),
        ("pinned[p] { place[p] == system }", "pinned[p] { true }", "invariant 'stays' has changed"),
        ("var depth: 0..DEPTH = 0;", "var depth: 0..DEPTH = 1;", "variable 'depth' has changed"),
        ("param DEPTH = 3;\n", "", ""),
    ],
)
def test_what_makes_it_stale(path: Path, written: Path, old: str, new: str, stale: str) -> None:
    text = PAGES.replace("0..DEPTH", "0..3") if new == "" and "DEPTH" in old else PAGES
    assert old in text
    path.write_text(text.replace(old, new, 1))
    found = checked(written)
    if "param DEPTH" in old:
        assert "DEPTH" in found.stale
    else:
        assert found.stale == stale
    assert found.exit_code == (1 if found.stale else 0)


def test_a_spec_that_is_wrong_is_no_stale_one(path: Path, written: Path) -> None:
    path.write_text(PAGES.replace("pinned[p] := true", "pinned[p] := 7"))
    with pytest.raises(SpecError):
        checked(written)


def test_the_spec_may_move(path: Path, written: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere.hmm"
    path.rename(elsewhere)
    assert main(["recheck", str(written), "--solver", "z3"]) == 2
    assert main(["recheck", str(written), "--solver", "z3", "--spec", str(elsewhere), "--quiet"]) == 0
    # Together with the certificates: as invariant.hmm names it.
    together = tmp_path / "together"
    together.mkdir()
    elsewhere.rename(together / "pages.hmm")
    written.parent.rename(together / "certs")
    assert recheck(together / "certs" / written.name, RecheckOptions(("z3",), jobs=2)).exit_code == 0


# ---------------------------------------------------------------- writing, and the command


def test_nothing_else_is_overwritten(path: Path, written: Path, tmp_path: Path) -> None:
    before = {p.name: p.read_bytes() for p in written.iterdir()}
    assert write_certificate(written.parent, *by_hand(path)) == written
    assert before == {p.name: p.read_bytes() for p in written.iterdir()}
    assert [p.name for p in written.parent.iterdir()] == [written.name]
    other = tmp_path / "other.hmm"
    other.write_text(PAGES)
    with pytest.raises(SpecError, match=r"a certificate of '.*pages.hmm' is there already"):
        write_certificate(written.parent, *by_hand(other))
    mine = tmp_path / "mine" / written.name
    mine.mkdir(parents=True)
    (mine / "thesis.txt").write_text("years of work")
    with pytest.raises(SpecError, match="a folder with other things in it"):
        write_certificate(mine.parent, *by_hand(path))
    assert [p.name for p in mine.iterdir()] == ["thesis.txt"]


def test_names_that_the_spec_has_already(path: Path) -> None:
    path.write_text(PAGES.replace("false_one", "lemma_1"))
    _, proved = by_hand(path, lemmas={**LEMMAS, "alone": "forall y: Page | pinned[y] { owner[y] == null }"})
    renamed = load_source(Source(str(path), path.read_text() + "reachable y: true;\n"))
    text = certificate(renamed, proved, path)["invariant.hmm"]
    assert "invariant lemma_1_: forall y_: Page | pinned[y_] { owner[y_] == null };" in text


CYCLE = """\
spec cycle
param CPUS = 2;
type Cpu = symmetric[CPUS];
lock a;
lock b;
thread one[Cpu] { get: acquire a; more: acquire b; both: release b; last: release a; restart; }
thread two { get: acquire b; last: release b; restart; }
invariant fine: true;
"""
HANDS = {
    "one_a": "forall c: Cpu { one[c] == get => holder(a) != one[c] }",
    "one_b": "forall c: Cpu { one[c] in {get, more} => holder(b) != one[c] }",
    "two_b": "two == get => holder(b) != two",
}


def test_an_order_of_locks(path: Path) -> None:
    path.write_text(CYCLE)
    folder = write_certificate(path.parent / "certs", *by_hand(path, ("lock_cycle",), HANDS, ("Cpu",)))
    assert read_header((folder / "certificate.json").read_text()).order == ["a", "b"]
    text = (folder / "safety-lock_cycle.smt2").read_text()
    assert "; the order of locks: a, b" in text
    assert "; one.get waits for a while it holds b" in text
    assert checked(folder).exit_code == 0
    edited("certificate.json", '"a",\n    "b"', '"b",\n    "a"')(folder)
    found = checked(folder)
    assert [c.told for c in found.checked if c.status == "failed"] == [
        "one.more waits for b while it holds a, z3 finds"
    ]
    edited("certificate.json", '"b",\n    "a"', '"b"')(folder)
    with pytest.raises(NotACertificate, match="the order of locks is not one of this spec"):
        checked(folder)
    path.write_text(
        CYCLE.replace(
            "last: release b; restart; }\ninvariant",
            "more: acquire a; last: release a; release b; restart; }\ninvariant",
        )
    )
    with pytest.raises(Limit, match="the locks have no order"):
        write_certificate(path.parent / "certs", *by_hand(path, ("lock_cycle",), HANDS, ("Cpu",)))


@pytest.mark.parametrize(
    ("more", "failing"),
    [
        ("", ()),
        ("invariant fine: forall p: Page { owner[p] != null => 3 / (if place[p] == system then 1 else 2) > 0 };", ()),
        ("invariant trap: forall p: Page { 3 / (if pinned[p] then 0 else 1) > 0 };", ("judging trap is an error",)),
        ("reachable trap: exists p: Page { 3 / (if pinned[p] then 0 else 1) > 5 };", ("judging trap is an error",)),
        ("terminal trap: exists p: Page { 3 / (if pinned[p] then 0 else 1) > 5 };", ("judging trap is an error",)),
        ("leads_to trap: forall p: Page { pinned[p] ~> 3 / (if pinned[p] then 0 else 1) > 5 };", ("judging trap",)),
        ("step trap: forall p: Page { 3 / (if pinned'[p] then 0 else 1) > 0 };", ("judging trap of pin is an error",)),
        ("reachable many: count(p: Page | 3 / (if pinned[p] then 0 else 1) > 0) > 7;", ("judging many is an error",)),
        ("transition bad(p: Page) when pinned[p] { depth := 3 / (if pinned[p] then 0 else 1); }", ("bad ends in",)),
    ],
)
def test_errors_of_the_spec(path: Path, more: str, failing: tuple[str, ...]) -> None:
    """Also those while a property is judged, whatever the proof is about."""
    path.write_text(PAGES + more + "\n")
    folder = write_certificate(path.parent / "certs", *by_hand(path, ("spec_error",), {}))
    found = checked(folder)
    told = [c.told for c in found.checked if c.status == "failed" and c.obligation.kind == "safety"]
    assert len(told) == len(failing)
    assert all(a.startswith(b) for a, b in zip(told, failing, strict=True))
    # So any of them may make it stale.
    path.write_text(path.read_text() + "reachable other: true;\n")
    assert checked(folder).stale == "reachable 'other' is new"


def test_what_has_no_words(path: Path) -> None:
    spec, proved = by_hand(path, ("stays",), {"last": "forall c: Cpu { worker[c] == get }"})
    whole = Claim(
        "whole",
        E.Compare(
            "==", E.Var("lru", proved.system.variable("lru").type), E.Const(1, proved.system.variable("lru").type)
        ),
    )
    with pytest.raises(Limit, match=r"identities such as worker\[cpu0\] have no names"):
        certificate(spec, replace(proved, lemmas=(whole,)), path)


def test_the_command(written: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert certificates_in(written.parent) == certificates_in(written) == [written]
    assert main(["recheck", str(written.parent), "--solver", "z3", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["format"], document["exit_code"]) == ("hmmspec recheck", 0)
    (one,) = document["certificates"]
    assert (one["spec"], one["verdict"], one["never_possible"]) == ("pages", "rechecked", ["odd"])
    assert one["params"] == {"DEPTH": "3"}
    assert {o["status"] for o in one["obligations"]} == {"shown"}
    assert main(["recheck", str(written), "--solver", "z3"]) == 0
    out = capsys.readouterr().out
    assert "never possible, so that what is proved of it says nothing: odd" in " ".join(out.split())
    assert "with 2 invariants that were found (invariant.hmm)" in out
    removed("start.smt2")(written)
    assert main(["recheck", str(written), "--solver", "z3", "--quiet"]) == 1
    assert "start.smt2 is missing" in capsys.readouterr().out
    assert main(["recheck", str(written / "nowhere")]) == 2
    assert main(["recheck", str(written.parent.parent)]) == 2


def test_a_system_is_made_from_the_params_alone(path: Path) -> None:
    path.write_text(PAGES + "instance deep { DEPTH = 2; PAGES = 4; }\n")
    spec = load(str(path))
    (system,) = build_all(spec)
    assert plain_system(spec, system) == system
    assert isinstance(next(p for p in system.properties if p.name == "stays"), Invariant)
