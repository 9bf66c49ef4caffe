"""The vectorized decisions equal those of a slow, plain program of the rules."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openmedq.curate.duplicates import EVALUATION, DuplicateReason, Rows, decide


@dataclass(frozen=True)
class Line:
    """One row. An image is a number; two images with the same tens digit look the same."""

    id: str
    set: int
    rank: int
    text: int
    pixels: tuple[int, ...]

    @property
    def groups(self) -> list[int]:
        return sorted(number // 10 for number in self.pixels)


def _rows(lines: list[Line]) -> Rows:
    pixels = [number for line in lines for number in line.pixels]
    shown_by = [place for place, line in enumerate(lines) for _ in line.pixels]
    numbers = {name: np.array(values, np.int64) for name, values in (("pixels", pixels), ("shown_by", shown_by))}
    return Rows(
        ids=pa.array([line.id for line in lines], pa.string()),
        datasets=np.array([line.set for line in lines], np.int64),
        ranks=np.array([line.rank for line in lines], np.int64),
        texts=np.array([line.text for line in lines], np.int64),
        **numbers,
        groups=numbers["pixels"] // 10,
    )


def _decide(lines: list[Line], keep_out: str) -> dict[str, tuple[str, str]]:
    table = decide(_rows(lines), keep_out)
    assert table["id"].to_pylist() == sorted(table["id"].to_pylist())
    return {row["id"]: (row["kept_id"], row["reason"]) for row in table.to_pylist()}


def _decide_plainly(lines: list[Line], keep_out: str) -> dict[str, tuple[str, str]]:
    ordered = sorted(lines, key=lambda line: (line.rank, line.set, line.id))
    evaluation = [line for line in ordered if line.rank == EVALUATION]
    found: dict[str, tuple[str, str]] = {}
    left: list[Line] = []

    def is_exact(one: Line, other: Line) -> bool:
        return one.text == other.text and sorted(one.pixels) == sorted(other.pixels)

    def is_near(one: Line, other: Line) -> bool:
        return one.text == other.text and one.groups == other.groups

    for line in ordered:
        if line.rank == EVALUATION:
            continue
        same = [e for e in evaluation if is_exact(e, line)] or [e for e in evaluation if is_near(e, line)]
        shown = [
            e
            for e in evaluation
            if set(e.groups) & set(line.groups) and (keep_out == "all" or e.set != line.set) and keep_out != "none"
        ]
        copies = [other for other in left if is_near(other, line)]
        if same:
            found[line.id] = same[0].id, DuplicateReason.IN_EVALUATION
        elif shown:
            found[line.id] = shown[0].id, DuplicateReason.EVALUATION_IMAGE
        elif copies:
            exact = is_exact(copies[0], line)
            found[line.id] = (
                copies[0].id,
                DuplicateReason.DUPLICATE_EXACT if exact else DuplicateReason.DUPLICATE_PERCEPTUAL,
            )
        else:
            left.append(line)
    return found


LINES = st.lists(
    st.builds(
        Line,
        id=st.uuids().map(str),
        set=st.integers(0, 2),
        rank=st.integers(0, 2),
        text=st.integers(0, 2),
        pixels=st.lists(st.sampled_from([0, 1, 10, 11, 20]), max_size=2).map(tuple),
    ),
    max_size=15,
    unique_by=lambda line: line.id,
)
KEEP_OUT = st.sampled_from(["none", "cross_source", "all"])


@given(LINES, KEEP_OUT)
def test_decisions_follow_the_rules(lines: list[Line], keep_out: str) -> None:
    assert _decide(lines, keep_out) == _decide_plainly(lines, keep_out)


@given(LINES, KEEP_OUT)
def test_kept_rows_have_no_decision(lines: list[Line], keep_out: str) -> None:
    found = _decide(lines, keep_out)
    kept_rows = [line for line in lines if line.id not in found]
    assert {line.id for line in lines if line.rank == EVALUATION} <= {line.id for line in kept_rows}
    assert {kept for kept, _ in found.values()} <= {line.id for line in kept_rows}
    assert _decide(kept_rows, keep_out) == {}


@pytest.mark.parametrize("keep_out", ["none", "cross_source", "all"])
def test_nothing_in_nothing_out(keep_out: str) -> None:
    assert decide(_rows([]), keep_out).num_rows == 0


def test_a_lost_first_copy_does_not_take_the_second_with_it() -> None:
    """The first copy shows an image of another dataset's test split; the second, of the same dataset, is kept."""
    lines = [
        Line("a/1", 0, 2, text=0, pixels=(10,)),
        Line("b/1", 1, 2, text=0, pixels=(10,)),
        Line("b/2", 1, 0, text=1, pixels=(11,)),
    ]
    assert _decide(lines, "cross_source") == {"a/1": ("b/2", "evaluation picture")}
