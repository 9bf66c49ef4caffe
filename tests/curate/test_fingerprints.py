from collections.abc import Sequence

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openmedq.curate.fingerprints import make_keys, normalize_text
from openmedq.schema import SAMPLE_SCHEMA

from .corpus import row


@given(st.text())
def test_normalizing_twice_is_normalizing_once(text: str) -> None:
    assert normalize_text(normalize_text(text)) == normalize_text(text)


@given(
    st.lists(st.text(st.characters(categories=["L"])), min_size=1), st.sampled_from([" ", "\n\t", ", ", "\u00a0", "…"])
)
def test_spacing_case_and_punctuation_fold(words: list[str], gap: str) -> None:
    assert normalize_text(gap.join(words) + "?") == normalize_text(" ".join(words).casefold())


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Is this a CT-scan?", "is this a  ct scan"),
        ("the ﬁrst “stage”", 'The first "stage".'),
        ("hyper\u00adtension", "hypertension"),
        ("Sjögren", "SJO\u0308GREN"),
        ("Straße", "STRASSE"),
        ("the node&#39;s size&nbsp;is &LT; 5 &micro;m", "the node's size is < 5 µm"),
        ('<p class="x">Is CO<sub>2</sub> high?<br/>Or low?</p>', "Is CO2 high? Or low?"),
    ],
)
def test_the_same(one: str, other: str) -> None:
    assert normalize_text(one) == normalize_text(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("1.5 mg", "15 mg"),
        ("1/5", "1.5"),
        ("-5 D", "5 D"),
        (".5", "5"),
        ("5%", "5"),
        ("Rh+", "Rh"),
        ("<5", ">5"),
        ("<p", "<"),
    ],
)
def test_numbers_and_signs_stay_apart(one: str, other: str) -> None:
    assert normalize_text(one) != normalize_text(other)


def make_key(turns: list[tuple[str, str, list[str], str]], labels: Sequence[str] = ()) -> bytes:
    """The key of one row; a turn is question, context, options, answer."""
    named = [dict(zip(("question", "context", "options", "answer"), turn, strict=True)) for turn in turns]
    columns = (
        pa.array([value], SAMPLE_SCHEMA.field(name).type) for name, value in (("turns", named), ("labels", labels))
    )
    return make_keys(*columns)[0]


def test_a_key_holds_every_field_in_its_place() -> None:
    base = make_key([("q", "c", ["x", "y"], "x")])
    assert make_key([("Q?", "c.", ["Y", "x"], "X")]) == base, "options in another order"
    others = [
        make_key([("c", "q", ["x", "y"], "x")]),
        make_key([("q", "c", ["x", "y"], "y")]),
        make_key([("q", "c", ["x"], "x")]),
        make_key([("q c", "", ["x", "y"], "x")]),
        make_key([("q", "c", ["x", "y"], "x"), ("q", "c", ["x", "y"], "x")]),
        make_key([("q", "c", ["x", "y"], "x")], labels=["x"]),
    ]
    assert len({base, *others}) == 7


def test_keys_of_columns_are_keys_of_rows() -> None:
    rows = [
        row("a/1", "train", "q", "x", options=["x", "y"]),
        row("a/2", "train", "p", "z"),
        row("a/3", "train", "", ""),
    ]
    rows[1]["turns"] *= 2
    rows[2]["turns"] = []
    rows[2]["labels"] = ["pneumonia"]
    table = pa.Table.from_pylist(rows, schema=SAMPLE_SCHEMA).combine_chunks()
    expected = [make_key([("q", "", ["x", "y"], "x")]), make_key([("p", "", [], "z")] * 2), make_key([], ["pneumonia"])]
    for start in range(3):  # a slice has offsets of its own
        batch = table.slice(start).to_batches()[0]
        assert make_keys(batch["turns"], batch["labels"]) == expected[start:]
