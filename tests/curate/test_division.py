from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openmedq.curate.division import divide
from openmedq.errors import SourceError

ROWS = st.lists(
    st.tuples(st.lists(st.sampled_from("abc"), max_size=2, unique=True), st.integers(0, 30).map(str)),
    min_size=30,
    max_size=60,
).filter(lambda rows: len({group for _, group in rows}) >= 5)


@settings(max_examples=20)
@given(ROWS, st.integers(2, 5), st.integers(0, 3))
def test_groups_stay_whole_and_every_row_is_on_one_side(
    rows: list[tuple[list[str], str]], num_parts: int, seed: int
) -> None:
    labels, groups = [row[0] for row in rows], [row[1] for row in rows]
    fitted, scored = divide(labels, groups, num_parts, seed)
    assert sorted([*fitted, *scored]) == list(range(len(rows)))
    assert {groups[row] for row in fitted}.isdisjoint(groups[row] for row in scored)
    again = divide(labels, groups, num_parts, seed)
    assert [*map(list, again)] == [list(fitted), list(scored)]


def test_classes_are_in_proportion() -> None:
    labels = [["a"]] * 80 + [["b"]] * 20
    _, scored = divide(labels, [str(row) for row in range(100)], 5, 0)
    assert Counter(labels[row][0] for row in scored) == {"a": 16, "b": 4}


@pytest.mark.parametrize(
    ("labels", "groups", "number"),
    [(["a"] * 10, ["one"] * 10, "1 groups of rows"), (list("aaabbbb"), list("0123456"), "4 rows of the largest class")],
)
def test_too_few_groups_or_rows_are_one_line(labels: list[str], groups: list[str], number: str) -> None:
    with pytest.raises(SourceError, match=f"{number} can't be divided into 5 parts"):
        divide([[each] for each in labels], groups, 5, 0)
