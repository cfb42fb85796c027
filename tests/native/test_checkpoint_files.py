"""Checkpoints that are damaged, dishonest or of something else are refused."""

from __future__ import annotations

import hashlib
import json
import random
import struct
from dataclasses import replace
from pathlib import Path

import pytest

from hmmspec.checker.native import saving
from hmmspec.checker.native.checkpoint import Foreign, Unusable, read
from hmmspec.diagnostics import InternalError
from hmmspec.system.identity import difference, parts, text_digest
from hmmspec.system.layout import layout
from tests.checker.helpers import system_of
from tests.native.checkpointed import (
    OPTIONS,
    PREFIX,
    RICH,
    SMALL,
    pages,
    resumed,
    stopped,
)


@pytest.fixture(autouse=True)
def _compiled(cache: Path) -> None:
    assert cache.is_dir()


# ---------------------------------------------------------------- damaged files


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory, _folder: Path) -> bytes:
    """The bytes of a checkpoint of RICH."""
    with pytest.MonkeyPatch.context() as m:
        m.setenv("XDG_CACHE_HOME", str(_folder))
        m.setenv("HMMSPEC_CFLAGS", "-O0")
        return stopped(tmp_path_factory.mktemp("written"), system_of(RICH), OPTIONS, 3000).read_bytes()


def refusal(tmp_path: Path, data: bytes) -> str:
    file = tmp_path / "test.ckpt"
    file.write_bytes(data)
    with pytest.raises(Unusable) as refused:
        resumed(file, system_of(RICH), OPTIONS)
    return str(refused.value)


def test_cut_short(tmp_path: Path, written: bytes) -> None:
    assert refusal(tmp_path, b"") == "it is not a checkpoint"
    assert refusal(tmp_path, written[:12]) == "it is cut short"
    for n in (24, 300, len(written) // 2, len(written) - 1):
        assert refusal(tmp_path, written[:n]) == f"it is cut short: {n} of {len(written)} bytes are there"
    assert refusal(tmp_path, written + b"more") == "its length is not what it says"


def test_one_byte_of_it_is_another(tmp_path: Path, written: bytes) -> None:
    places = {*range(24), 40, len(written) - 1, *random.Random(1).sample(range(24, len(written)), 40)}
    reasons = set()
    for place in places:
        reasons.add(
            refusal(tmp_path, written[:place] + bytes([written[place] ^ 4]) + written[place + 1 :]).split(":")[0]
        )
    assert reasons >= {"it is damaged", "it is not a checkpoint", "it is cut short"}


def test_another_format(tmp_path: Path, written: bytes) -> None:
    assert refusal(tmp_path, b"PK\3\4" + written) == "it is not a checkpoint"
    data = bytearray(written)
    struct.pack_into("<I", data, 8, 7)
    assert refusal(tmp_path, bytes(data)) == "its format is version 7, and this hmmspec reads version 1"


def test_no_file(tmp_path: Path) -> None:
    for path, reason in (
        (tmp_path / "none", "No such file"),
        (tmp_path, "directory"),
        (Path("/dev/null"), "not a file"),
    ):
        with pytest.raises(Unusable, match=reason):
            read(path)


# ---------------------------------------------------------------- dishonest files: their checksum is right


def parts_of(data: bytes) -> tuple[dict[str, object], list[int], bytes]:
    """Header, control block, states."""
    _, _, length, _ = PREFIX.unpack(data[: PREFIX.size])
    header = json.loads(data[PREFIX.size : PREFIX.size + length])
    at = PREFIX.size + length
    end = at + 8 * header["control"]
    return header, list(struct.unpack(f"<{header['control']}Q", data[at:end])), data[end:-32]


def signed(header: dict[str, object], control: list[int], states: bytes) -> bytes:
    text = json.dumps(header).encode()
    body = struct.pack(f"<{len(control)}Q", *control) + states
    whole = PREFIX.pack(b"hmmckpt\n", 1, len(text), PREFIX.size + len(text) + len(body) + 32) + text + body
    return whole + hashlib.blake2b(whole, digest_size=32).digest()


def test_a_rewritten_one_is_read(tmp_path: Path, written: bytes) -> None:
    (tmp_path / "test.ckpt").write_bytes(signed(*parts_of(written)))
    assert resumed(tmp_path / "test.ckpt", system_of(RICH), OPTIONS).states == 27170


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("states", 2**31, "its parts are not as long as it says"),
        ("states", -1, "'states' in its header is unfit"),
        ("states", True, "'states' in its header is unfit"),
        ("states", 10**400, "'states' in its header is unfit"),
        ("control", 0, "its parts are not as long as it says"),
        ("words", 0, "'words' in its header is unfit"),
        ("words", 1.0, "'words' in its header is unfit"),
        ("max_traces", 0, "'max_traces' in its header is unfit"),
        ("seconds", float("nan"), "'seconds' in its header is unfit"),
        ("seconds", "long", "'seconds' in its header is unfit"),
        ("every", 0, "'every' in its header is unfit"),
        ("path", "a\0b", "'path' in its header is unfit"),
        ("overrides", {"PAGES": 3}, "'overrides' in its header is unfit"),
        ("hash_bits", 3, "'hash_bits' in its header is unfit"),
        ("extra", 3, "its header has other fields than a checkpoint has"),
    ],
)
def test_headers(tmp_path: Path, written: bytes, field: str, value: object, reason: str) -> None:
    header, control, states = parts_of(written)
    assert refusal(tmp_path, signed(header | {field: value}, control, states)) == reason


def test_a_header_that_is_none(tmp_path: Path, written: bytes) -> None:
    header, control, states = parts_of(written)
    del header["instance"]
    assert refusal(tmp_path, signed(header, control, states)) == "its header has other fields than a checkpoint has"
    good = signed(*parts_of(written))
    for text in (b"[" * 100_000, b"{}", b"[]", b"\xff", b"1"):
        length = PREFIX.unpack(good[:24])[2]
        body = good[24 + length : -32]
        whole = PREFIX.pack(b"hmmckpt\n", 1, len(text), 24 + len(text) + len(body) + 32) + text + body
        told = refusal(tmp_path, whole + hashlib.blake2b(whole, digest_size=32).digest())
        assert told in {"its header is not JSON", "its header has other fields than a checkpoint has"}


def test_control_blocks(tmp_path: Path, written: bytes) -> None:
    """Each number of it may be anything: refused, or of no harm."""
    header, control, states = parts_of(written)
    luck, file = random.Random(3), tmp_path / "test.ckpt"
    reasons: list[str] = []
    system, options = system_of(RICH), replace(OPTIONS, threads=1, states=header["states"])
    for place in range(len(control)):
        value = luck.choice([0, 1, control[place] + 1, 2**32 - 1, 2**63, 2**64 - 1])
        file.write_bytes(signed(header, [*control[:place], value, *control[place + 1 :]], states))
        try:
            resumed(file, system, options)
        except Unusable as reason:
            reasons.append(str(reason))
        except InternalError as reason:  # a finding that is none: seen when its trace is made
            assert "native engine" in str(reason)  # noqa: PT017
    assert set(reasons) == {"its numbers do not fit one another"}
    assert len(reasons) > len(control) // 3
    for changed in (control[:-1], [*control, 0], control[:18], []):
        told = refusal(tmp_path, signed(header | {"control": len(changed)}, changed, states))
        assert told == "its numbers do not fit one another"


@pytest.mark.parametrize(
    ("at", "value"),
    [
        (70, 1),  # behind a set, and behind everything
        (127, 1),
        (160, 1),
        (191, 1),
        (128, 3),  # the length of a queue; its elements, those it does not have included
        (128, 1 | 3 << 2),
        (128, 1 | 1 << 6),
        (138, 3),  # elements of an array
        (142, 3),
        (144, 1 | 3 << 1),  # a record in a union, and the same bits beside null
        (144, 1 | 3 << 3),
        (144, 1 << 1),
        (149, 5),  # labels, owners
        (152, 7),
        (155, 3),
    ],
)
def test_states_that_are_none(tmp_path: Path, written: bytes, at: int, value: int) -> None:
    """Bits that carry nothing, and values that a type does not have: in the first state, all of whose bits are 0."""
    header, control, states = parts_of(written)
    assert not any(states[:24])
    changed = (value << at).to_bytes(24, "little")
    offsets = {"seen": 0, "box": 128, "hits": 138, "last": 144, "one": 149, "two": 152, "a": 155, "b": 157}
    assert layout(system_of(RICH)).offsets == offsets
    told = refusal(tmp_path, signed(header, control, changed + states[24:]))
    assert told == "what it holds as state 0 is no new state of this spec"


def test_a_state_twice(tmp_path: Path, written: bytes) -> None:
    header, control, states = parts_of(written)
    told = refusal(tmp_path, signed(header, control, states[:48] + states[:24] + states[72:]))
    assert told == "what it holds as state 2 is no new state of this spec"


# ---------------------------------------------------------------- checkpoints of something else


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        (("x < TOP { x", "x < TOP - 1 { x"), "step 'up' has changed"),
        (("x < 20", "x < 21"), "invariant 'low' has changed"),
        (("invariant low", "invariant lower"), "invariant 'low' is gone, invariant 'lower' is new"),
        (("TOP = 9", "TOP = 8"), "param 'TOP' has changed"),
        (("var y: N = 0", "var y: N = 1"), "variable 'y' has changed"),
        (
            ("transition up when x < TOP { x += 1; }", "transition up when x < TOP { x += 1; } transition no { }"),
            "is new",
        ),
    ],
)
def test_a_spec_that_has_changed(tmp_path: Path, changed: tuple[str, str], told: str) -> None:
    file = stopped(tmp_path, system_of(SMALL))
    other = system_of(SMALL.replace(*changed))
    with pytest.raises(Foreign, match="the spec has changed since: .*" + told):
        resumed(file, other, OPTIONS)


def test_what_people_read_may_change(tmp_path: Path) -> None:
    file = stopped(tmp_path, system_of(SMALL))
    other = "// why\n" + SMALL.replace("invariant low:", 'invariant low "never high":\n\n')
    report = resumed(file, system_of(other), OPTIONS)
    assert report.states == 100
    assert report.verdicts[-1].text == "never high" or any(v.text == "never high" for v in report.verdicts)


def test_another_spec_and_another_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = stopped(tmp_path, system_of(SMALL))
    with pytest.raises(Foreign, match="it is of the spec 'test', and this is 'pages'"):
        resumed(file, pages(3, 1), OPTIONS)
    monkeypatch.setattr(saving, "text_digest", lambda text: text_digest(text + "int other;"))
    with pytest.raises(Foreign, match="with an engine that differs from this one"):
        resumed(file, system_of(SMALL), OPTIONS)


def test_differences() -> None:
    system = system_of(RICH)
    known = parts(system)
    assert difference(known, parts(system_of("/* */" + RICH))) == ""
    assert len(set(known.values())) > 10
    assert {"step 'serve'", "variable 'box'", "lock 'a'", "thread 'one'", "assume 'few'"} <= set(known)
    assert difference(known, {}).endswith("more differences")
    assert difference(known, dict(reversed(known.items()))) == "the order of its parts has changed"
    assert text_digest("a /* x\ny */ b // z\n") == text_digest("a   b  \n".replace("   ", "   "))
