import collections
import os
import pickle
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openmedq.datasets.pathvqa import plain_pickle
from openmedq.datasets.pathvqa.plain_pickle import load_pickle, read_pickle
from openmedq.errors import SourceError

ADVICE = "use the other layout"
PROTOCOLS = range(6)


def load(data: bytes) -> Any:
    return load_pickle(data, "x.pkl", ADVICE)


def refusal(data: bytes) -> str:
    with pytest.raises(SourceError) as caught:
        load(data)
    text = str(caught.value)
    assert text.startswith("x.pkl: ")
    assert text.endswith(f"; {ADVICE}")
    assert "\n" not in text
    return text


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_records_come_back_whole(protocol: int, tmp_path: Path) -> None:
    record = {"image": "train_0422", "answer": "é", "label": {"here": 1.5}, "n": 2**70, "none": [None, True, (1,)]}
    records = [dict(record) for _ in range(3000)]  # above the batches of 1000 in which pickle writes
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(records, protocol))
    assert read_pickle(tmp_path / "x.pkl", ADVICE) == records


class Exploit:
    """Calls `function(*arguments)` when it is unpickled."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_what_runs_code_is_refused(tmp_path: Path, protocol: int) -> None:
    path = tmp_path / "ran"
    for value in (Exploit(os.system, f"touch {path}"), Exploit(eval, f"open({str(path)!r}, 'w')")):
        assert "refused: it names a class or a function" in refusal(pickle.dumps([{"question": value}], protocol))
    assert "refused" in refusal(pickle.dumps(collections.OrderedDict(a=1), protocol))
    assert not path.exists()


@pytest.mark.parametrize(
    "data", [b"cos\nsystem\n(S'id'\ntR.", b"(S'id'\nios\nsystem\n.", b"Pid\n.", b"NQ.", b"\x82\x01."]
)
def test_names_and_outside_objects_are_refused_in_every_spelling(data: bytes) -> None:
    assert "refused: it " in refusal(data)


@pytest.mark.parametrize(
    "data",
    [
        *(b"", b".", b"N", b"h\x00.", b"N\x86.", b"NNa.", b"}(Nu.", b"S'a\n.", b"NNR.", b"N\x81."),
        b"\x8e" + struct.pack("<Q", 2**62) + b"1",  # BINBYTES8
        b"Nr\xff\xff\xff\xff" * 3 + b"0",  # a memo's place beyond all memory
    ],
)
def test_what_is_damaged_is_one_line(data: bytes) -> None:
    assert "not a whole pickle" in refusal(data)


def test_a_cut_at_any_byte_is_one_line_that_does_not_repeat_the_text() -> None:
    for protocol in PROTOCOLS:
        whole = pickle.dumps([{"question": "secret", "n": 70000, "f": 1.5}] * 2, protocol)
        for length in range(len(whole)):
            assert "secret" not in refusal(whole[:length])


def test_the_size_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain_pickle, "MAX_BYTES", 1000)
    (tmp_path / "x.pkl").write_bytes(bytes(1001))
    with pytest.raises(SourceError, match=r"x\.pkl: 1001 bytes, but at most 1000 of a pickle are read; use the other"):
        read_pickle(tmp_path / "x.pkl", ADVICE)


@pytest.mark.parametrize("data", [b"S'caf\xe9'\n.", b"U\x04caf\xe9."])
def test_foreign_bytes_cost_one_text(data: bytes) -> None:
    assert load(data) == "caf\udce9"


@settings(max_examples=300)
@given(data=st.binary(max_size=60))
def test_no_bytes_crash(data: bytes) -> None:
    try:
        load(data)
    except SourceError as error:
        assert "\n" not in str(error)
