"""What an exported text is made of, what is refused, and small specs whose counts are plain to see."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hmmspec.checker.check import check
from hmmspec.checker.options import CheckOptions
from hmmspec.cli.main import main
from hmmspec.diagnostics import SpecError
from hmmspec.export.murphi import murphi_of
from hmmspec.export.names import Names, identifier
from hmmspec.export.promela import promela_of
from tests.export.peers import ROOT, rumur, spin, system_from

HOSTILE = '''spec od
"""*/ assert(false); /* " endrule -- text of a docstring"""
type rule = enum { begin, endrule, skip_ };
var init_: rule = begin;
var now[0..1]: 0..2 = 0;            // */ comment
var NOW: bool = false;
transition do_ when now[0] < 2 { now[0] += 1; now[1] := now[0]; NOW := !NOW; }
transition printf when init_ == begin { init_ := endrule; }
invariant array "*/ text \\" of a property": now[0] == now[1];
reachable pid: now[1] == 2;
terminal type_ "-- text of a terminal": true;
'''


def test_no_text_of_the_spec_but_names() -> None:
    system = system_from(HOSTILE)
    for text in (promela_of(system), murphi_of(system)):
        assert "text of" not in text
        assert "spec.hmm" not in text
        assert str(ROOT) not in text
    assert promela_of(system).count("/*") == promela_of(system).count("*/")


def test_names_that_mean_something_elsewhere(tmp_path: Path) -> None:
    """Keywords of Promela, Murphi and C, names that differ in capitals alone: 3 values of now, 2 of init_."""
    system = system_from(HOSTILE)
    assert spin(system, tmp_path).states == 6
    assert rumur(system, tmp_path).states == 6


def test_every_name_is_given_once() -> None:
    names = Names()
    given = [names.fresh(n) for n in ("place", "Place", "place_2", "od", "OD", "while", "a.b", "a_b", "x[0]", "1", "")]
    assert len({g.lower() for g in given}) == len(given)
    assert all(re.fullmatch(r"[A-Za-z]\w*", g) for g in given)
    assert not {"od", "OD", "while"} & set(given)


def test_identifiers_hold_nothing_else() -> None:
    assert identifier('*/"; assert(false) //') == "assert_false"
    assert identifier("\n") == "v"


def test_one_step_reads_everything_before_it_writes(tmp_path: Path) -> None:
    """Swaps, shifts and indices that the step itself changes: exported in a wrong order, the invariant breaks."""
    system = system_from("""spec swap
var x: 0..3 = 1;
var y: 0..3 = 2;
var a[0..2]: 0..2 = 0;
var i: 0..2 = 0;
transition swap { let t = x; x := y; y := t; }
transition turn { let first = a[0]; a[0] := a[1]; a[1] := a[2]; a[2] := first; }
transition put when a[i] == 0 { a[i] := i; i := if i == 2 then 0 else i + 1; if (a[i] == 0 && i == 2) { a[i] := 1; } }
invariant swapped: x + y == 3;
""")
    expected = check(system, CheckOptions(symmetry=False)).states
    assert spin(system, tmp_path).states == expected
    assert rumur(system, tmp_path).states == expected


def test_start_states_that_are_many(tmp_path: Path) -> None:
    """Chosen cell by cell: 3 * 2 ** 9 starts, and nothing moves."""
    system = system_from("spec many\nvar a[0..8]: bool = any;\nvar b: 0..2 = any;\nterminal rests: true;\n")
    assert spin(system, tmp_path).states == 1536
    assert rumur(system, tmp_path).states == 1536


@pytest.mark.parametrize("export", [promela_of, murphi_of])
def test_what_is_left_out_is_listed(export) -> None:
    system = system_from("""spec left
var x: bool = false;
transition turn { x := !x; }
leads_to on "x comes": !x ~> x;
recoverable off: !x;
fair turn;
""")
    text = export(system)
    assert "not exported: leads_to on" in text
    assert "not exported: recoverable off" in text


def refused(text: str, export=promela_of, **options: bool) -> str:
    with pytest.raises(SpecError) as caught:
        export(system_from(text), **options)
    (diagnostic,) = caught.value.diagnostics
    assert diagnostic.code == "HMM078"
    assert diagnostic.span.path == "spec.hmm"
    return diagnostic.message


def test_refusals() -> None:
    wide = "spec wide\nvar x: 0..5000 = 0;\ntransition t { choose i: 0..5000 | i != x; x := i; }\n"
    assert "more than 4096" in refused(wide)
    assert "more than 1024" in refused("spec wide\nvar x: 0..5000 = 0;\ntransition t(i: 0..5000) { x := i; }\n")
    big = "spec big\nvar x: 0..2000000 = 0;\ntransition t when x * x * 4 > 9 { x := 0; }\n"
    assert "a number outside" in refused(big)
    assert "a number outside" in refused(big, murphi_of)
    start = "spec s\nvar x: 0..2000 = any;\nassume small: x != 7;\nterminal t: true;\n"
    with pytest.raises(SpecError, match="1024 start states"):
        promela_of(system_from(start))


SYMMETRIC = "spec s\ntype Page = symmetric[2];\nvar x: {} = {};\ntransition t(p: Page) {{ x := {}; }}\n"


def test_refusals_of_symmetry() -> None:
    optional = SYMMETRIC.format("Page?", "null", "p")
    assert "union" in refused(optional, murphi_of, symmetry=True)
    assert murphi_of(system_from(optional))
    assert "over Page" in refused(SYMMETRIC.format("set of Page", "{}", "x + {p}"), murphi_of, symmetry=True)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec, out = str(ROOT / "tests" / "specs" / "unions.hmm"), tmp_path / "unions.pml"
    assert main(["export", spec, "-i", "tested", "--to", "promela", "-o", str(out)]) == 0
    assert out.read_text().startswith("/*\n * spec unions, instance tested\n")
    assert capsys.readouterr().out == f"{out}: written\n"
    assert main(["export", spec, "--to", "murphi"]) == 0
    assert "startstate" in capsys.readouterr().out
    assert main(["export", spec, "--to", "murphi", "--symmetry"]) == 2
    assert "HMM078" in capsys.readouterr().err
    assert main(["export", spec, "--to", "promela", "--symmetry"]) == 2
    assert "HMM089" in capsys.readouterr().err
    assert main(["export", spec, "--to", "tla"]) == 2
    assert main(["export", spec]) == 2


def test_the_header_tells_how_to_run_it() -> None:
    system = system_from(HOSTILE)
    assert "spin -a -o2 FILE && cc -O2 -DSAFETY -DNOREDUCE -o pan pan.c && ./pan -E -m10000000" in promela_of(system)
    assert "rumur --deadlock-detection off --value-type int32_t -o verify.c FILE" in murphi_of(system)
    assert all(len(line) <= 120 for line in promela_of(system).split("*/")[0].splitlines())
