"""Files: reading, imports, patches, refinement."""

from __future__ import annotations

from pathlib import Path

import pytest

from hmmspec.diagnostics import Source, SpecError, render
from hmmspec.lang import cache, trees
from hmmspec.lang import load as loading
from hmmspec.lang import syntax as s
from hmmspec.lang.load import load, load_source, read_source
from hmmspec.lang.parser import parse
from hmmspec.lang.patch import name_of
from hmmspec.lang.printer import print_declaration

BASE = """spec base
\"\"\"The base.\"\"\"
param N = 2;
type Page = symmetric[N];
var pins[Page]: 0..1 = 0;
machine place[p: Page] {
    states off, on;
    initial off;
    off -> on by up;
    on -> off by down when pins[p] == 0;
    on -> on by down;
    on -> on by hit;
}
transition pin(p: Page) { pins[p] += 1; }
thread walk {
    skip;
    first: skip;
    second: while (true) {
        inner: skip;
        other: if (true) { deep: skip; } else { skip; }
    }
    third: stop;
}
procedure sub() { one: skip; two: skip; }
invariant i: true;
invariant j: true;
fair up, down, walk.first;
event pin;
source "mm/memory.c" f for down, pin;
instance tiny { N = 1; }
expect tiny has 3 states;
prove i, j for every Page;
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "base.hmm").write_text(BASE)
    return tmp_path


def load_text(folder: Path, text: str) -> s.Spec:
    (folder / "main.hmm").write_text(text)
    return load(str(folder / "main.hmm"))


def patched(folder: Path, items: str, after: str = "") -> s.Spec:
    return load_text(folder, f'spec main patches "base.hmm" {{ {items} }}\n{after}\n')


def names(spec: s.Spec) -> list[str]:
    return [ident.name for d in spec.declarations if (ident := name_of(d)) is not None]


def printed(spec: s.Spec, name: str) -> str:
    return next(
        print_declaration(d) for d in spec.declarations if (ident := name_of(d)) is not None and ident.name == name
    )


def failure(folder: Path, text: str) -> tuple[list[str], str]:
    """The codes and the rendered messages."""
    with pytest.raises(SpecError) as caught:
        load_text(folder, text)
    found = caught.value.diagnostics
    return [d.code for d in found], "\n".join(map(render, found))


# ---------------------------------------------------------------- plain files


def test_plain_file(folder: Path) -> None:
    spec = load(str(folder / "base.hmm"))
    assert (spec.name, spec.doc, spec.refines) == ("base", "The base.", None)
    assert spec.files == (str(folder / "base.hmm"),)
    assert len(spec.declarations) == 15


@pytest.mark.parametrize(
    ("data", "code"),
    [(b"spec \xff", "HMM083"), (b"\xff\xfes\0", "HMM083"), (b"spec a\0b", "HMM083"), (b"", "HMM010")],
)
def test_odd_bytes(tmp_path: Path, data: bytes, code: str) -> None:
    path = tmp_path / "x.hmm"
    path.write_bytes(data)
    with pytest.raises(SpecError) as caught:
        load(str(path))
    assert [d.code for d in caught.value.diagnostics] == [code]
    assert caught.value.diagnostics[0].span.path == str(path)


def test_byte_order_mark_is_skipped(tmp_path: Path) -> None:
    (tmp_path / "x.hmm").write_bytes(b"\xef\xbb\xbfspec a\r\nvar x: bool;\r\n")
    assert names(load(str(tmp_path / "x.hmm"))) == ["x"]


@pytest.mark.parametrize(
    ("name", "code"), [("none.hmm", "HMM080"), (".", "HMM081"), ("x\0y", "HMM082"), ("a/" * 3000, "HMM082")]
)
def test_no_such_file(folder: Path, name: str, code: str) -> None:
    with pytest.raises(SpecError) as caught:
        read_source(str(folder) + "/" + name)
    assert [d.code for d in caught.value.diagnostics] == [code]


def test_near_file_name(folder: Path) -> None:
    with pytest.raises(SpecError) as caught:
        load(str(folder / "bse.hmm"))
    assert caught.value.diagnostics[0].fix == "did you mean 'base.hmm'?"


def test_too_large(tmp_path: Path) -> None:
    (tmp_path / "x.hmm").write_text("spec a\n// " + "\u00e9" * 3_000_000)
    with pytest.raises(SpecError) as caught:
        load(str(tmp_path / "x.hmm"))
    assert [d.code for d in caught.value.diagnostics] == ["HMM019"]


# ---------------------------------------------------------------- files that take in others


def test_import_takes_all_but_runs(folder: Path) -> None:
    spec = load_text(folder, 'spec main\nvar before: bool;\nimport "base.hmm";\nvar after: bool;\n')
    found = names(spec)
    assert found[0] == "before" and found[-1] == "after" and "walk" in found
    assert "tiny" not in found
    assert not any(isinstance(d, (s.Instance, s.ExpectCount, s.Prove, s.Import)) for d in spec.declarations)
    assert any(isinstance(d, s.Fair) for d in spec.declarations)
    assert spec.name == "main" and spec.doc is None
    assert spec.files == (str(folder / "main.hmm"), str(folder / "base.hmm"))


def test_each_file_once(folder: Path) -> None:
    (folder / "a.hmm").write_text('spec a\nimport "base.hmm";\nvar in_a: bool;\n')
    (folder / "sub").mkdir()
    (folder / "sub" / "b.hmm").write_text('spec b\nimport "../base.hmm";\nimport "../sub/../a.hmm";\n')
    spec = load_text(folder, 'spec main\nimport "a.hmm";\nimport "sub/b.hmm";\nimport "./a.hmm";\n')
    assert names(spec).count("walk") == 1
    assert names(spec).count("in_a") == 1


def test_library(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "lib").mkdir()
    (folder / "lib" / "locks.hmm").write_text("spec locks\nlock l;\n")
    monkeypatch.setattr(loading, "library_directory", lambda: str(folder / "lib"))
    assert names(load_text(folder, 'spec main\nimport "locks.hmm";\n')) == ["l"]
    # The importing file's own directory comes first.
    (folder / "locks.hmm").write_text("spec locks\nlock mine_;\n")
    assert names(load_text(folder, 'spec main\nimport "locks.hmm";\n')) == ["mine_"]


def test_library_is_there() -> None:
    assert Path(vars(loading)["library_directory"]()).is_dir()


def test_import_not_found(folder: Path) -> None:
    codes, text = failure(folder, 'spec main\nimport "bass.hmm";\n')
    assert codes == ["HMM060"]
    assert f"looked in '{folder}'" in text and "did you mean 'base.hmm'?" in text and "main.hmm:2:1" in text


def test_import_cycle(folder: Path) -> None:
    (folder / "a.hmm").write_text('spec a\nimport "b.hmm";\n')
    (folder / "b.hmm").write_text('spec b\n\nimport "main.hmm";\n')
    codes, text = failure(folder, 'spec main\nimport "a.hmm";\n')
    assert codes == ["HMM061"]
    assert "main.hmm -> a.hmm -> b.hmm -> main.hmm" in text
    assert "b.hmm:3:1" in text


@pytest.mark.parametrize("header", ['patches "main.hmm" { }', 'refines "main.hmm" by { }', ""])
def test_own_cycle(folder: Path, header: str) -> None:
    codes, _ = failure(folder, f"spec main {header}\n" + ("" if header else 'import "main.hmm";'))
    assert codes == ["HMM061"]


def test_long_chain(folder: Path) -> None:
    for i in range(100):
        (folder / f"f{i}.hmm").write_text(f'spec f{i}\nimport "f{i + 1}.hmm";\n')
    codes, _ = failure(folder, 'spec main\nimport "f0.hmm";\n')
    assert codes == ["HMM009"]


def test_mistakes_of_all_files_are_shown_where_they_are(folder: Path) -> None:
    (folder / "a.hmm").write_text("spec a\nvar x bool;\n")
    (folder / "b.hmm").write_text("spec b\nvar y: bool\n")
    (folder / "c.hmm").write_bytes(b"\xff")
    codes, text = failure(folder, 'spec main\nimport "a.hmm";\nimport "b.hmm";\nimport "c.hmm";\n')
    assert sorted(codes) == ["HMM001", "HMM013", "HMM083"]
    assert "a.hmm:2:7" in text and "b.hmm:2:11" in text and "main.hmm:4:1" in text


# ---------------------------------------------------------------- patches


def test_patch_keeps_the_rest(folder: Path) -> None:
    spec = patched(folder, "", "var own: bool;")
    assert names(spec)[-1] == "own"
    assert spec.name == "main" and spec.doc == "The base."
    kinds = [type(d) for d in spec.declarations]
    assert s.Instance in kinds and s.Prove in kinds
    assert s.ExpectCount not in kinds


def test_replace_declaration_in_its_place(folder: Path) -> None:
    before = names(load(str(folder / "base.hmm")))
    spec = patched(folder, "replace transition pin(p: Page) when true { } replace instance tiny { N = 5; }")
    assert names(spec) == before
    assert printed(spec, "pin") == "transition pin(p: Page) when true { }"
    assert printed(spec, "tiny") == "instance tiny { N = 5; }"


def test_replace_arrows(folder: Path) -> None:
    spec = patched(folder, "replace place { off -> on by down; on -> off by down when false; on -> off by up; }")
    assert printed(spec, "place").split("\n")[3:-1] == [
        "  on -> off by up;",
        "  off -> on by down;",
        "  on -> off by down when false;",
        "  on -> on by hit;",
    ]


def test_replace_steps(folder: Path) -> None:
    spec = patched(
        folder, "replace walk { first: stop; deep: restart; restart; inner: stop; third: } replace sub { two: return; }"
    )
    assert printed(spec, "walk") == (
        "thread walk {\n  skip;\n  first:\n    stop;\n  second:\n    while (true) {\n      inner:\n"
        "        stop;\n      other:\n        if (true) {\n          deep:\n            restart;\n"
        "            restart;\n        } else {\n          skip;\n        }\n    }\n  third:\n}"
    )
    assert "two:\n    return;" in printed(spec, "sub")


def test_replace_the_unlabelled_start(folder: Path) -> None:
    spec = patched(folder, "replace walk { start: stop; }")
    assert printed(spec, "walk").startswith("thread walk {\n  start:\n    stop;\n  first:\n")


def test_add_and_remove(folder: Path) -> None:
    spec = patched(folder, "remove pin; remove down; remove i; remove tiny; add var extra: bool; add fair up;")
    found = names(spec)
    assert "extra" in found and not {"pin", "tiny", "i"} & set(found)
    assert "down" not in printed(spec, "place")
    lists = [
        print_declaration(d) for d in spec.declarations if isinstance(d, (s.Fair, s.Event, s.SourceAnchor, s.Prove))
    ]
    # Lists forget the names; a list that lost all of them is gone, and does not become one for the whole spec.
    assert lists == ["fair up, walk.first;", "prove j for every Page;", "fair up;"]


def test_remove_a_thread_and_a_machine(folder: Path) -> None:
    spec = patched(folder, "remove walk; remove place;")
    assert not any(isinstance(d, s.Fair) for d in spec.declarations)
    assert any(isinstance(d, s.SourceAnchor) and d.steps == (s.StepName("pin"),) for d in spec.declarations)


def test_add_import(folder: Path) -> None:
    (folder / "extra.hmm").write_text("spec extra\nvar more: bool;\ninstance not_taken { }\n")
    spec = patched(folder, 'add import "extra.hmm";')
    assert names(spec)[-1] == "more"


def test_patch_of_a_patch_and_import_of_a_patch(folder: Path) -> None:
    (folder / "p1.hmm").write_text(
        'spec p1 patches "base.hmm" { remove pin; }\nvar one: bool;\nexpect tiny violates i;\n'
    )
    spec = load_text(folder, 'spec main patches "p1.hmm" { replace var one: 0..3; }')
    assert "pin" not in names(spec) and printed(spec, "one") == "var one: 0..3;"
    assert not any(isinstance(d, s.ExpectViolates) for d in spec.declarations)
    spec = load_text(folder, 'spec main\nimport "p1.hmm";')
    assert "pin" not in names(spec) and "one" in names(spec) and "tiny" not in names(spec)


@pytest.mark.parametrize(
    ("items", "code", "words"),
    [
        ("remove pni;", "HMM062", "did you mean 'pin'?"),
        ("replace var pinns: bool;", "HMM062", "did you mean 'pins'?"),
        ("replace transition up { }", "HMM062", "write 'replace place { ... }'"),
        ("replace plce { off -> on by up; }", "HMM062", "did you mean 'place'?"),
        ("replace place { off -> on by upp; }", "HMM062", "did you mean 'up'?"),
        ("replace walk { frist: skip; }", "HMM062", "did you mean 'first'?"),
        ("add var pins: bool;", "HMM063", "the var is here"),
        ("replace walk { off -> on by up; }", "HMM064", "has labelled steps, not arrows"),
        ("replace place { first: skip; }", "HMM064", "has arrows, not labelled steps"),
        ("replace pin { first: skip; }", "HMM064", "replace transition pin"),
        ("replace walk { skip; }", "HMM065", "begin with a label"),
        ("replace fair up;", "HMM065", "write 'add'"),
    ],
)
def test_patch_mistakes(folder: Path, items: str, code: str, words: str) -> None:
    codes, text = failure(folder, f'spec main patches "base.hmm" {{ {items} }}')
    assert codes == [code]
    assert words in text


def test_declaring_again_after_the_patches(folder: Path) -> None:
    codes, text = failure(folder, 'spec main patches "base.hmm" { }\nvar pins: bool;')
    assert codes == ["HMM063"] and "replace var pins" in text


def test_patch_that_nests_too_deep(folder: Path) -> None:
    deep = "if (true) { " * 90
    (folder / "base.hmm").write_text(f"spec b\nthread t {{ {deep} a: skip; {'}' * 90} }}\n")
    codes, _ = failure(folder, f'spec main patches "base.hmm" {{ replace t {{ a: {deep} skip; {"}" * 90} }} }}')
    assert codes == ["HMM009"]


# ---------------------------------------------------------------- refinement


def test_refines(folder: Path) -> None:
    spec = load_text(folder, 'spec main refines "base.hmm" by { place[p: Page] = off; }\nvar pins: bool;\n')
    assert names(spec) == ["pins"]
    assert spec.refines is not None
    assert spec.refines.abstract.name == "base"
    assert spec.refines.abstract.files == (str(folder / "base.hmm"),)
    assert [m.name.name for m in spec.refines.mappings] == ["place"]
    assert spec.files == (str(folder / "main.hmm"), str(folder / "base.hmm"))


def test_both_specs_may_import_the_same_file(folder: Path) -> None:
    (folder / "types.hmm").write_text("spec types\ntype T = bool;\n")
    (folder / "a.hmm").write_text('spec a\nimport "types.hmm";\n')
    spec = load_text(folder, 'spec main refines "a.hmm" by { }\nimport "types.hmm";\n')
    assert spec.refines is not None
    assert names(spec) == ["T"] == names(spec.refines.abstract)


def test_patched_refinement_still_refines(folder: Path) -> None:
    (folder / "r.hmm").write_text('spec r refines "base.hmm" by { }\nvar own: bool;\n')
    spec = load_text(folder, 'spec main patches "r.hmm" { remove own; }')
    assert spec.refines is not None and spec.refines.abstract.name == "base"
    # The claim is about that file alone: an import does not bring it.
    assert load_text(folder, 'spec main\nimport "r.hmm";').refines is None


def test_text_in_memory(folder: Path) -> None:
    spec = load_source(Source(str(folder / "unsaved.hmm"), 'spec u\nimport "base.hmm";\n'))
    assert "walk" in names(spec)


def test_trees_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was parsed before is not parsed again, and is the same tree; a damaged or foreign cache is no matter."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    text = "spec kept\nvar n: 0..3 = 0;\ntransition up when n < 3 { n += 1; }\n"
    source = Source("kept.hmm", text)
    first = trees.tree(source)
    assert first == parse(source)
    monkeypatch.setattr(trees, "import_module", lambda name: pytest.fail(f"{name} was loaded"))
    again = trees.tree(Source("other.hmm", text))
    assert again == first
    assert {d.span.source.path for d in again.declarations} == {"other.hmm"}
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (kept,) = (tmp_path / "hmmspec/trees").iterdir()
    for damage in (kept.read_bytes()[:-1] + b"x", b"", cache.hashlib.sha256(b"no tree").digest() + b"no tree"):
        kept.write_bytes(damage)
        assert trees.tree(source) == first
    (tmp_path / "hmmspec/trees").chmod(0o777)
    assert cache.read(kept) is None
