import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openmedq.datasets.fields import Unusable
from openmedq.datasets.readers import json_stream
from openmedq.datasets.readers.json_stream import stream_lines, stream_list, stream_object
from openmedq.errors import SourceError
from openmedq.schema import Reason

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
LAYOUTS = st.sampled_from([{}, {"indent": 2}, {"separators": (",", ":")}, {"ensure_ascii": False}, {"indent": "\t"}])
relaxed = settings(max_examples=50)


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8", errors="surrogatepass")
    return path


def encodable(value: Any) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in json.dumps(value, ensure_ascii=False))


@relaxed
@given(items=st.lists(VALUES, max_size=8).filter(encodable), layout=LAYOUTS)
def test_values_are_streamed_as_json_loads_reads_them(tmp_path: Path, items: list[Any], layout: dict[str, Any]) -> None:
    numbered = {str(number): item for number, item in enumerate(items, start=1)}
    path = write(tmp_path / "x.json", json.dumps(items, **layout))
    assert list(stream_list(path)) == list(numbered.items())
    assert list(stream_object(write(path, json.dumps(numbered, **layout)))) == list(numbered.items())
    lines = stream_lines(write(path, "".join(json.dumps(item) + "\n\n" for item in items)))
    assert list(lines) == [(str(2 * number + 1), item) for number, item in enumerate(items)]


@relaxed
@given(text=st.text(alphabet='[]{}",:0123456789.eE+-truefalsn \n\\u', max_size=30))
@pytest.mark.parametrize("stream", [stream_list, stream_object])
def test_whatever_json_refuses_is_refused(
    tmp_path: Path, stream: Callable[[Path], Iterator[tuple[str, Any]]], text: str
) -> None:
    path = write(tmp_path / "x.json", text)
    try:
        expected = json.loads(text)
    except ValueError:
        expected = None
    if isinstance(expected, list if stream is stream_list else dict):
        values = [value for _, value in stream(path)]
        assert len(values) >= len(expected)  # a key may be repeated
    else:
        with pytest.raises(SourceError):
            list(stream(path))


@relaxed
@given(items=st.lists(VALUES, min_size=1, max_size=5).filter(encodable), share=st.floats(0, 0.999))
@pytest.mark.parametrize("as_object", [False, True])
def test_a_cut_file_ends_after_what_is_whole(tmp_path: Path, as_object: bool, items: list[Any], share: float) -> None:
    tree = {str(number): item for number, item in enumerate(items, start=1)}
    text = json.dumps(tree if as_object else items, indent=1)
    path = write(tmp_path / "x.json", text[: int(len(text) * share)])
    try:
        *seen, (_, last) = (stream_object if as_object else stream_list)(path)
    except SourceError as error:  # not one whole record
        assert "\n" not in str(error)
        assert "not the published JSON" in str(error)
    else:
        assert seen
        assert seen == list(tree.items())[: len(seen)]
        assert isinstance(last, Unusable)
        assert last.reason is Reason.FILE_TRUNCATED


@pytest.mark.parametrize(
    "text", ['[{"a": 1}, {"a": 2} {"a": 3}, {"a": 4}]', '[{"a": 1}, {"a": 2}, nonsense, {"a": 4}]']
)
def test_damage_above_the_end_is_an_error_with_its_place(tmp_path: Path, text: str) -> None:
    with pytest.raises(SourceError, match=r"x\.json: not the published JSON: .* record \d \(line 1 column 2\d\); copy"):
        list(stream_list(write(tmp_path / "x.json", text)))


def test_a_file_too_large_is_not_taken_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_stream, "MAX_BYTES", 10)
    with pytest.raises(SourceError, match=r"x\.json: 12 bytes of JSON are too large for memory; at most 10 are read"):
        list(stream_list(write(tmp_path / "x.json", "[1, 2, 3, 4]")))


def test_deep_nesting_and_long_numbers_are_refused(tmp_path: Path) -> None:
    for text in ("[" * 200_000, "[" + "9" * 10_000 + "]"):
        with pytest.raises(SourceError):
            list(stream_list(write(tmp_path / "x.json", text)))


def test_foreign_bytes_stay_in_their_record(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_bytes('["caf\u00e9", "'.encode() + b'caf\xe9", "\xc3\xa9"]')
    assert [value for _, value in stream_list(path)] == ["café", "caf\udce9", "é"]


def test_a_bad_line_is_one_record_and_so_is_a_cut_last_line(tmp_path: Path) -> None:
    path = write(tmp_path / "x.jsonl", '{"a": 1}\nnonsense\n{"a": 2}')
    (_, first), (_, second), (_, third) = stream_lines(path)
    assert (first, third) == ({"a": 1}, {"a": 2})
    assert isinstance(second, Unusable)
    write(path, '{"a": 1}\n{"a": ')
    _, (_, cut) = stream_lines(path)
    assert cut.reason is Reason.FILE_TRUNCATED


def test_not_a_number_does_not_become_text() -> None:
    from openmedq.datasets.fields import take_optional_text

    for value in (math.nan, math.inf, True, None, [], {}):
        assert take_optional_text({"x": value}, "x") == ""
    assert take_optional_text({"x": " 4 "}, "x") == take_optional_text({"x": 4}, "x") == "4"
