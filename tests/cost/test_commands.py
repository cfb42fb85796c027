"""`hmmspec cost` and `hmmspec simulate` as a user meets them."""

from __future__ import annotations

import builtins
import csv
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from hmmspec.cli.main import main
from hmmspec.ref.cost.presets import PRESETS
from hmmspec.ref.simulate.policies import POLICIES
from hmmspec.ref.simulate.workloads import WORKLOADS

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def hmmspec(capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*arguments: object) -> tuple[int, str, str]:
        code = main([str(a) for a in arguments])
        out, err = capsys.readouterr()
        return code, out, err

    return run


@pytest.fixture
def copies(tmp_path: Path) -> Path:
    path = tmp_path / "copies.csv"
    rows = [
        f"gpu,{way},{4096 << k},{1.0 + (4096 << k) / each}"
        for way, each in (("h2d", 12000), ("d2h", 10000))
        for k in range(8)
    ]
    path.write_text("\n".join(["device,direction,bytes,time_us,note", *(f"{r},x" for r in rows)]))
    return path


def test_the_table(hmmspec: Run, tmp_path: Path) -> None:
    code, out, _ = hmmspec("cost", "table")
    assert code == 0 and "figures are within what is allowed" in out
    code, out, _ = hmmspec("cost", "table", "--csv")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert code == 0 and len(rows) > 90 and {r["fine"] for r in rows} == {"true"}
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- begin: hmmspec cost table -->\nold\n<!-- end -->\nafter\n")
    assert hmmspec("cost", "table", "--update", page)[0] == 0
    text = page.read_text()
    assert text.startswith("before\n") and text.endswith("<!-- end -->\nafter\n") and "old" not in text
    page.write_text("no marks")
    code, _, err = hmmspec("cost", "table", "--update", page)
    assert (code, page.read_text()) == (2, "no marks") and "HMM088" in err


def test_a_link(hmmspec: Run) -> None:
    code, out, _ = hmmspec("cost", "link", "pcie3", "--lanes", "x16", "--mps", "256", "--mrrs", 512, "--sizes", "64,4K")
    assert code == 0
    assert "PCIe 3 x16, MPS 256, MRRS 512" in out and "packets 14.213 GB/s" in out
    assert "10.829 GB/s  10.336 GB/s" in out and "13.183 GB/s  12.994 GB/s     12.460 GB/s" in out
    code, out, _ = hmmspec(
        "cost", "link", "pcie4", "--ack", 0, "--fc", 0, "--skip", 0, "--mps", 512, "--csv", "--sizes", "4K"
    )
    assert code == 0
    (row,) = csv.DictReader(io.StringIO(out))
    assert int(row["to_system_b_per_s"]) == pytest.approx(30.10e9, rel=1e-3)
    code, out, _ = hmmspec("cost", "link", "c2c", "--round-trip", "500ns", "--sizes", "64M")
    assert code == 0 and "375.000 GB/s" in out


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("link", "--lanes", "x7"), "HMM140", "no PCIe link has width x7"),
        (("link", "--lanes", "seven"), "HMM140", "--lanes wants a whole number, not 'seven'"),
        (("link", "--mps", "100"), "HMM140", "no PCIe link has MPS 100"),
        (("link", "--mps", "-128"), "HMM140", "no PCIe link has MPS -128"),
        (("link", "--gen", "9"), "HMM140", "no PCIe link has generation 9"),
        (("link", "--rcb", "1"), "HMM140", "no PCIe link has RCB 1"),
        (("link", "--ack", "5", "--fc", "5"), "HMM140", "leave nothing for data"),
        (("link", "--round-trip", "-1us"), "HMM141", "a time must not be negative"),
        (("link", "--round-trip", "7"), "HMM141", "is not a time with a unit"),
        (("link", "--sizes", "-4K"), "HMM141", "a size must not be negative: '-4K'"),
        (("link", "--sizes", "0"), "HMM141", "0 bytes"),
        (("link", "c2c", "--lanes", "8"), "HMM089", "known by its rates"),
        (("link", "pcie44"), "HMM088", "did you mean 'pcie4'?"),
        (("link", "no/such.json"), "HMM080", "does not exist"),
        (("fit", "no.csv"), "HMM080", "does not exist"),
        (("fit", "no.csv", "--plot", "x.gif"), "HMM089", "must end in .png, .svg, .pdf"),
        (("presets", "--json"), "HMM089", "name it"),
        (("presets", "pciee"), "HMM088", "no machine 'pciee'"),
        (("tables",), "HMM089", "invalid choice"),
        ((), "HMM089", "cost wants one of"),
    ],
)
def test_mistakes_of_cost(hmmspec: Run, arguments: tuple[str, ...], code: str, told: str) -> None:
    exit_code, out, err = hmmspec("cost", *arguments)
    assert exit_code == 2
    assert not out or "--json" in arguments  # where JSON was asked for, the mistake is in it as well
    assert code in err and told in err
    assert err.count("error ") == 1


def test_a_fit(hmmspec: Run, copies: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    machine, plot = tmp_path / "mine.json", tmp_path / "fit.png"
    code, out, _ = hmmspec("cost", "fit", copies, "--hold-out", "64K", "--machine", machine, "--plot", plot)
    assert code == 0
    assert "gpu, to_device: 7 points" in out and "bandwidth: 12.00 GB/s" in out and "each call: 1 us" in out
    assert "never used" in out and "columns that are not used: note" in out
    assert plot.read_bytes().startswith(b"\x89PNG")
    code, out, _ = hmmspec("cost", "link", machine, "--sizes", "1G")
    assert code == 0 and "12.000 GB/s  10.000 GB/s" in out
    code, out, _ = hmmspec("simulate", "streaming", "--size", "256K", "--link", f"pcie4,{machine}")
    assert code == 0 and "streaming over mine" in out
    code, out, _ = hmmspec("cost", "fit", copies, "--csv")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert len(rows) == 16 and {r["how"] for r in rows} == {"held out"}


def test_a_fit_that_predicts_nothing_says_so(hmmspec: Run, tmp_path: Path) -> None:
    path = tmp_path / "two.csv"
    path.write_text("bytes,time_us\n4096,2\n8192,3\n")
    code, out, _ = hmmspec("cost", "fit", path)
    assert code == 0 and "fitted: as many constants as points" in out and "held out" not in out


@pytest.mark.parametrize(
    ("text", "code", "told"),
    [
        ("bytes,time_us\n4096,-1\n", "HMM142", ":2:6: error HMM142: a time must be a number above 0, not '-1'"),
        ("bytes;time_us\n4096;1\n", "HMM142", "no column gives"),
        ("bytes,time_us\n4096,3\n8192,2\n", "HMM143", "do not grow with the size"),
    ],
)
def test_files_that_cannot_be_fitted(hmmspec: Run, tmp_path: Path, text: str, code: str, told: str) -> None:
    path = tmp_path / "bad.csv"
    path.write_text(text)
    exit_code, out, err = hmmspec("cost", "fit", path)
    assert (exit_code, out) == (2, "") and code in err and told in err


def test_held_out_sizes_must_be_there(hmmspec: Run, copies: Path) -> None:
    code, _, err = hmmspec("cost", "fit", copies, "--hold-out", "5K")
    assert code == 2 and "no point has the size 5120" in err


def test_presets(hmmspec: Run, tmp_path: Path) -> None:
    code, out, _ = hmmspec("cost", "presets")
    assert code == 0 and all(line.startswith(name) for line, name in zip(out.splitlines(), PRESETS, strict=True))
    for name in PRESETS:
        code, out, _ = hmmspec("cost", "presets", name, "--json")
        assert code == 0 and json.loads(out)["name"] == name
        made = tmp_path / f"{name}.json"
        made.write_text(out.replace('"lanes": 16', '"lanes": 7'))
        code, _, err = hmmspec("cost", "link", made)
        assert (code == 2 and "HMM140" in err) if name.startswith("pcie") else code == 0
        assert "assumed" in hmmspec("cost", "presets", name)[1]
    made.write_text("{}")
    code, _, err = hmmspec("cost", "link", made)
    assert code == 2 and "HMM144" in err


# ------------------------------------------------------------ simulate


def test_a_simulation(hmmspec: Run) -> None:
    code, out, _ = hmmspec("simulate", "streaming", "--size", "1M", "--link", "pcie4,c2c", "--spent")
    assert code == 0
    assert "streaming over pcie4 (PCIe 4 x16, MPS 256, MRRS 512)" in out and "streaming over c2c" in out
    assert all(f"\n  {name}" in out for name in POLICIES)
    assert "fault: where the time went" in out and "migrate page" in out
    assert out.count("Migrating ") == 2 and "it would pay from" in out


def test_all_numbers_as_csv(hmmspec: Run) -> None:
    code, out, _ = hmmspec("simulate", "--size", "256K", "--rounds", 2, "--csv", "--link", "pcie5", "--mps", "512")
    assert code == 0
    rows = list(csv.DictReader(io.StringIO(out)))
    assert [(r["workload"], r["policy"]) for r in rows] == [(w, p) for w in WORKLOADS for p in POLICIES]
    for row in rows:
        lanes = [int(row[f"{lane}_ps"]) for lane in ("cpu", "bus_to_device", "bus_to_system", "device")]
        assert sum(lanes) == int(row["time_ps"]) and max(lanes) == int(row["at_best_ps"])
        assert int(row["bytes_per_s"]) == int(row["useful_bytes"]) * 10**12 // int(row["time_ps"])


def test_a_time_line(hmmspec: Run, tmp_path: Path) -> None:
    path = tmp_path / "line.csv"
    code, out, _ = hmmspec("simulate", "stencil", "--policy", "prefetch", "--size", "1M", "--timeline", path)
    assert code == 0 and "stencil over pcie4" in out
    rows = list(csv.DictReader(io.StringIO(path.read_text())))
    at = 0
    for row in rows:
        assert int(row["at_ps"]) == at
        at += int(row["ps"])
    assert {"copy to device", "migrate page", "tlb flush"} <= {r["what"] for r in rows}
    code, out, _ = hmmspec("simulate", "stencil", "--policy", "prefetch", "--size", "1M", "--csv")
    assert int(next(csv.DictReader(io.StringIO(out)))["time_ps"]) == at
    code, _, err = hmmspec("simulate", "stencil", "--timeline", path)
    assert code == 2 and "--timeline is about one run" in err


def test_the_answer_in_short(hmmspec: Run) -> None:
    code, out, _ = hmmspec("simulate", "streaming", "ping-pong", "--size", "256K", "--rounds", 40)
    assert code == 0
    short = out[out.index("When does migrating pay?") :].splitlines()
    assert [line.split()[0] for line in short[2:]] == ["streaming", "ping-pong"]
    assert " yes " in short[2] and short[3].endswith("never")


def test_a_plot(hmmspec: Run, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    plot = tmp_path / "s.svg"
    code, _, _ = hmmspec("simulate", "list", "random", "--size", "64K", "--link", "pcie3,cxl", "--plot", plot)
    assert code == 0 and plot.read_text().lstrip().startswith("<?xml")


def test_no_plot_without_matplotlib(
    hmmspec: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, copies: Path
) -> None:
    """HMM145, before any work."""
    for name in [n for n in sys.modules if n.split(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    real = builtins.__import__

    def missing(name: str, *rest: object, **more: object) -> object:
        if name.split(".")[0] == "matplotlib":
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", missing)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    for command in (("simulate", "--size", "64K"), ("cost", "fit", copies)):
        code, out, err = hmmspec(*command, "--plot", tmp_path / "x.png")
        assert code == 2 and "HMM145" in err and 'pip install "hmmspec[plot]"' in err
        assert "Migrating" not in out and not (tmp_path / "x.png").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("strean",), "HMM088", "did you mean 'streaming'?"),
        (("--policy", "pin,nver"), "HMM088", "did you mean 'never'?"),
        (("--link", "pcie9"), "HMM088", "no machine 'pcie9'"),
        (("--size=-4K",), "HMM141", "a size must not be negative"),
        (("--size", "5000"), "HMM141", "whole pages"),
        (("--size", "0"), "HMM141", "whole pages"),
        (("--memory", "4K"), "HMM141", "does not hold"),
        (("--memory", "-1M"), "HMM141", "must not be negative"),
        (("--around", "12K"), "HMM141", "a power of two"),
        (("--rounds", "0"), "HMM089", "not a number from 1"),
        (("--seed", "-1"), "HMM089", "not a number from 0"),
        (("--lanes", "7"), "HMM140", "width x7"),
        (("--mps", "100"), "HMM140", "MPS 100"),
        (("--plot", "x.txt"), "HMM089", "must end in"),
    ],
)
def test_mistakes_of_simulate(hmmspec: Run, arguments: tuple[str, ...], code: str, told: str) -> None:
    exit_code, out, err = hmmspec("simulate", *arguments)
    assert (exit_code, out) == (2, "") and code in err and told in err
