from __future__ import annotations

import builtins
import codecs
import collections
import os
import pickle
import pickletools
import struct
import sys
import tracemalloc
from pathlib import Path, PosixPath
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openmedq.errors import SourceError
from openmedq.formats import plain_pickle
from openmedq.formats.plain_pickle import load_pickle, read_pickle

ADVICE = "use the other layout"
PROTOCOLS = range(6)
RUNS = {"pickle.find_class", "os.system", "exec", "compile", "import", "subprocess.Popen", "open", "os.posix_spawn"}

_events: list[str] = []
_is_watching = False


def _watch(event: str, _: Any) -> None:
    if _is_watching and event in RUNS:
        _events.append(event)


sys.addaudithook(_watch)
codecs.lookup("raw-unicode-escape")  # the one module that reading a text may import


def load(data: bytes) -> Any:
    """`load_pickle`, during which nothing is imported, opened or run."""
    global _is_watching
    _events.clear()
    _is_watching = True
    try:
        return load_pickle(data, "x.pkl", ADVICE)
    finally:
        _is_watching = False
        assert _events == []


def refusal(data: bytes) -> str:
    with pytest.raises(SourceError) as caught:
        load(data)
    text = str(caught.value)
    assert text.startswith("x.pkl: ")
    assert text.endswith(f"; {ADVICE}")
    assert "\n" not in text
    return text


def typed(value: Any) -> Any:
    """The value with the types of all its parts."""
    if isinstance(value, dict):
        return dict, [(typed(key), typed(item)) for key, item in value.items()]
    if isinstance(value, set):
        return set, {(type(item), item) for item in value}
    if isinstance(value, list | tuple):
        return type(value), [typed(item) for item in value]
    return type(value), repr(value)


def plain(protocol: int) -> st.SearchStrategy[Any]:
    """Values that Python writes with plain opcodes in that protocol: earlier ones build bytes and sets by calls."""
    text = st.text(max_size=300) | st.text(st.characters(), max_size=5)  # lone surrogates as well
    number = st.integers(-(2**59), 2**59) | st.floats(allow_nan=False)
    key = text | number | st.none() | st.booleans()
    scalar = key | st.integers(-(2**300), 2**300)
    if protocol >= 3:
        key, scalar = key | st.binary(max_size=300), scalar | st.binary(max_size=300)

    def nest(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
        lists = st.lists(inner, max_size=4)
        containers = lists | lists.map(tuple) | st.dictionaries(key, inner, max_size=4)
        return containers | st.sets(key, max_size=4) if protocol >= 4 else containers

    return st.recursive(scalar, nest, max_leaves=20)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_plain_values_come_back_whole(protocol: int) -> None:
    @settings(max_examples=100)
    @given(value=plain(protocol))
    def check(value: Any) -> None:
        data = pickle.dumps(value, protocol)
        assert typed(load(data)) == typed(value)
        assert typed(load(pickletools.optimize(data))) == typed(value)

    check()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_records_come_back_whole(protocol: int) -> None:
    record = {"image": "train_0422", "question": "where?", "answer": "here", "label": {"here": 1}, "n": 100422000}
    records = [dict(record) for _ in range(3000)]  # above the batches of 1000 in which pickle writes
    assert load(pickle.dumps(records, protocol)) == records


def test_what_stands_in_several_places_or_in_itself_is_one_value() -> None:
    shared: list[Any] = []
    both = load(pickle.dumps([shared, shared]))
    assert both[0] is both[1]
    shared.append(shared)
    within = load(pickle.dumps(shared))
    assert within[0] is within


class Exploit:
    """Runs `function(*arguments)` in who unpickles it."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


class Plain:
    """A class of one's own, with a state."""

    def __init__(self) -> None:
        self.state = 1


HOSTILE: dict[str, Any] = {
    "posix.system": lambda path: Exploit(os.system, f"touch {path}"),
    "builtins.eval": lambda path: Exploit(eval, f"open({str(path)!r}, 'w')"),
    "builtins.exec": lambda path: Exploit(exec, f"open({str(path)!r}, 'w')"),
    "builtins.getattr": lambda path: Exploit(getattr, "text", "upper"),
    "collections.OrderedDict": lambda path: collections.OrderedDict(a=1),
    "numpy": lambda path: np.zeros(3),
    "test_plain_pickle.Plain": lambda path: Plain(),
    f"{PosixPath.__module__}.PosixPath": lambda path: path,  # pathlib._local since Python 3.13
    "frozenset": lambda path: frozenset("a"),
    "bytearray": lambda path: bytearray(b"a"),
    "complex": lambda path: 1j,
}


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("name", sorted(HOSTILE))
def test_what_runs_code_is_refused_and_named(tmp_path: Path, name: str, protocol: int) -> None:
    path = tmp_path / "ran"
    for value in (HOSTILE[name](path), [{"question": HOSTILE[name](path)}]):
        data = pickle.dumps(value, protocol)
        text = refusal(data)
        assert "refused at byte" in text
        assert "could run any code" in text
        if name == "test_plain_pickle.Plain" and protocol < 2:
            assert "copy_reg._reconstructor" in text
        elif name not in ("frozenset", "bytearray") or protocol < 4:  # later ones have opcodes of their own
            assert (name.replace("builtins", "__builtin__") if protocol < 3 else name) in text  # as Python 2 says it
    assert not path.exists()
    assert Exploit(os.system).call[0] is os.system


@pytest.mark.parametrize(
    ("data", "opcode"),
    [
        (b"cos\nsystem\n(S'id'\ntR.", "GLOBAL of `os.system`"),
        (b"(S'id'\nios\nsystem\n.", "INST of `os.system`"),
        (b"(cos\nsystem\nS'id'\no.", "GLOBAL of `os.system`"),
        (b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x02id\x85R.", "STACK_GLOBAL of `os.system`"),
        (b"\x80\x04\x8c\x02os\x94\x8c\x06system\x94h\x00h\x01\x93.", "STACK_GLOBAL of `os.system`"),
        (b"\x80\x04\x93.", "STACK_GLOBAL builds"),
        (b"\x80\x02NN\x81.", "NEWOBJ builds"),
        (b"\x80\x04NNN\x92.", "NEWOBJ_EX builds"),
        (b"NNb.", "BUILD builds"),
        (b"NNR.", "REDUCE builds"),
        (b"(No.", "OBJ builds"),
        (b"Pid\n.", "PERSID builds"),
        (b"NQ.", "BINPERSID builds"),
        (b"\x82\x01.", "EXT1 builds"),
        (b"\x83\x01\x00.", "EXT2 builds"),
        (b"\x84\x01\x00\x00\x00.", "EXT4 builds"),
        (b"\x97.", "NEXT_BUFFER builds"),
        (b"N\x98.", "READONLY_BUFFER builds"),
        (b"c" + b"x" * 500 + b"\nsecret text\n.", "GLOBAL builds"),
    ],
)
def test_every_opcode_that_looks_up_or_calls_is_refused(data: bytes, opcode: str) -> None:
    text = refusal(data)
    assert f"opcode {opcode}" in text
    assert "secret" not in text


REFUSED = {
    *("GLOBAL", "STACK_GLOBAL", "REDUCE", "BUILD", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "PERSID", "BINPERSID"),
    *("EXT1", "EXT2", "EXT4", "BYTEARRAY8", "NEXT_BUFFER", "READONLY_BUFFER", "FROZENSET"),
}


@pytest.mark.parametrize("opcode", pickletools.opcodes, ids=lambda opcode: opcode.name)
def test_an_opcode_is_followed_only_if_it_builds_plain_values(opcode: pickletools.OpcodeInfo) -> None:
    data = b"(NNN" + opcode.code.encode("latin-1") + b"1\nmodule\n"  # something to work on, an argument, no end
    assert ("could run any code" in refusal(data)) == (opcode.name in REFUSED)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b".",
        b"<html>\n404\n</html>\n",
        b"N",
        b"h\x00.",  # no such memo
        b"q\x00.",  # nothing to remember
        b"0.",
        b"N\x86.",  # a pair of one
        b"Na.",  # appended to nothing
        b"NNa.",  # appended to no list
        b"NN.",  # two values
        b"(N.",  # an open mark
        b"}(Nu.",  # a key without a value
        b"}(NNe.",
        b"NNNs.",
        b"(Nd.",
        b"I4x\n.",
        b"I4",
        b"Fone\n.",
        b"S'a\n.",
        b"S'a\\q'\n.",  # no such escape
        b"S'a'b'\n"[:-1],
        b"V\\u12\n.",
        b"L" + b"9" * 5000 + b"L\n.",  # more digits than Python takes
    ],
)
def test_what_is_damaged_is_one_line(data: bytes) -> None:
    assert "not a whole pickle (damaged or cut at byte " in refusal(data)


def test_a_cut_at_any_byte_is_one_line_that_does_not_repeat_the_text() -> None:
    for protocol in PROTOCOLS:
        whole = pickle.dumps([{"question": "secret", "n": 70000, "f": 1.5}] * 2, protocol)
        for length in range(len(whole)):
            assert "secret" not in refusal(whole[:length])


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"\x8b\xff\xff\xff\x7f" + b"1", "damaged"),  # LONG4 of 2 GB
        (b"\x8e" + struct.pack("<Q", 2**62) + b"1", "damaged"),  # BINBYTES8
        (b"\x8d" + struct.pack("<Q", 2**63 + 1) + b"1", "damaged"),  # BINUNICODE8
        (b"X\xff\xff\xff\xff1", "damaged"),
        (b"T\xff\xff\xff\xff1", "damaged"),  # BINSTRING of a negative length
        (b"Nr\xff\xff\xff\xff" * 3 + b"0", "damaged"),  # a memo's place beyond all memory
        (b"\x80\x09N.", "protocol is above 5"),
        (b"}\x8a\x09" + bytes(8) + b"\x01Ns.", "key is no text and no small number"),
        (b"}])s.", "key is no text"),
        (b"})Ns.", "key is no text"),
        (b"\x8f(]\x90.", "key is no text"),
    ],
)
def test_lies_about_lengths_places_and_keys_cost_nothing(data: bytes, said: str) -> None:
    tracemalloc.start()
    assert said in refusal(data)
    assert tracemalloc.get_traced_memory()[1] < 2**22
    tracemalloc.stop()


def test_a_bomb_of_tuples_is_not_hashed() -> None:
    doubled = b")" + b"2\x86" * 60  # the hash of the 60th takes 2**60 steps
    assert len(load(doubled + b".")) == 2
    assert "key is no text" in refusal(b"}" + doubled + b"Ns.")


def test_nesting_costs_no_recursion() -> None:
    value = load(b"]" * 100_000 + b"a" * 99_999 + b".")
    depth = 1
    while value:
        (value,) = value
        depth += 1
    assert depth == 100_000


def test_size_and_steps_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain_pickle, "MAX_STEPS", 100)
    assert load(b"(" + b"N" * 97 + b"l.") == [None] * 97
    assert "more than 100 values" in refusal(b"(" + b"N" * 98 + b"l.")
    monkeypatch.setattr(plain_pickle, "MAX_BYTES", 1000)
    assert "1001 bytes are too many" in refusal(bytes(1001))
    (tmp_path / "x.pkl").write_bytes(bytes(1001))
    with pytest.raises(SourceError, match=r"x\.pkl: 1001 bytes are too many .*; use the other layout"):
        read_pickle(tmp_path / "x.pkl", ADVICE)


def test_a_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "x.pkl").write_bytes(pickle.dumps([{"a": 1}]))
    assert read_pickle(tmp_path / "x.pkl", ADVICE) == [{"a": 1}]


@pytest.mark.parametrize(
    "data",
    [
        b"S'caf\xe9'\n.",
        b"S'caf\\xe9'\n.",
        b"X\x04\x00\x00\x00caf\xe9.",
        b"\x8c\x04caf\xe9.",
        b"\x8d\x04" + bytes(7) + b"caf\xe9.",
        b"U\x04caf\xe9.",
    ],
)
def test_foreign_bytes_cost_one_text(data: bytes) -> None:
    assert load(data) == "caf\udce9"


def test_texts_of_python_2_are_utf8() -> None:
    assert load(b"U\x05caf\xc3\xa9.") == load(b"T\x05\x00\x00\x00caf\xc3\xa9.") == "café"
    assert load(b"S'caf\\xc3\\xa9'\n.") == load(b'S"caf\xc3\xa9"\n.') == "café"
    assert load(b"S'a\\'b\\n\\\\x41\\x41\"'\n.") == "a'b\n\\x41A\""


@pytest.fixture(scope="module")
def hostile_pickles() -> list[bytes]:
    """Whole pickles, plain and hostile, as seeds of mutations."""
    values = [
        [{"image": "train_0001", "question": "is it?", "answer": "yes", "label": {"yes": 1.0}}] * 3,
        (1, -2, 2**40, 2**70, 1.5, True, None, b"bytes", "x" * 300, {"a", "b"}),
        [Exploit(os.getcwd), Plain(), np.zeros(2)],
        collections.OrderedDict(a=Exploit(os.getcwd)),
    ]
    return [pickle.dumps(value, protocol) for value in values for protocol in PROTOCOLS]


@settings(max_examples=400)
@given(data=st.data())
def test_no_mutation_crashes_or_runs(hostile_pickles: list[bytes], data: st.DataObject) -> None:
    mutated = bytearray(data.draw(st.sampled_from(hostile_pickles)))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(mutated) - 1))
        piece = data.draw(st.binary(max_size=3) | st.sampled_from([op.code.encode("latin-1") for op in OPCODES]))
        mutated[at : at + data.draw(st.integers(0, 2))] = piece
        if not mutated:
            break
    survives(bytes(mutated))


OPCODES = pickletools.opcodes


@settings(max_examples=400)
@given(
    data=st.binary(max_size=60)
    | st.lists(st.sampled_from([op.code.encode("latin-1") for op in OPCODES]) | st.binary(max_size=2)).map(b"".join)
)
def test_no_bytes_crash_or_run(data: bytes) -> None:
    survives(data)


def survives(data: bytes) -> None:
    try:
        value = load(data)
    except SourceError as error:
        assert "\n" not in str(error)
    else:
        assert type(value) in (dict, list, tuple, set, str, bytes, int, float, bool, type(None))


def test_the_watch_sees_what_runs(tmp_path: Path) -> None:
    """The test's own watch can fail: the real unpickler is seen."""
    global _is_watching
    _events.clear()
    _is_watching = True
    pickle.loads(pickle.dumps(Exploit(os.getcwd)))
    _is_watching = False
    assert "pickle.find_class" in _events


def test_the_module_knows_no_pickle() -> None:
    names = vars(plain_pickle)
    assert not {"pickle", "importlib", "__import__", "getattr"} & set(names)
    assert not any(value is builtins or value is pickle for value in names.values())
