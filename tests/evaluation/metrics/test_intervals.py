from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from openmedq.evaluation.metrics import intervals
from openmedq.evaluation.metrics.metric import Metric

from .scoring import bootstrap

OPTIONS = {"num_resamples": 2000, "seed": 0}


def interval_of(values, groups, **options):
    """The value and the bounds of a mean, in percent; None without bounds."""
    numbers = np.asarray(values, float)[:, None]
    scores = bootstrap([Metric("mean", "Mean", float)], [numbers], groups, **(OPTIONS | options))
    return SimpleNamespace(value=scores["mean"], low=scores.get("mean_low"), high=scores.get("mean_high"))


def test_agrees_with_scipy_when_each_row_is_a_group() -> None:
    values = np.random.default_rng(1).normal(size=200)
    ours = interval_of(values, [str(row) for row in range(200)], num_resamples=5000)
    theirs = stats.bootstrap((100 * values,), np.mean, n_resamples=5000, method="percentile", rng=2).confidence_interval
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=1)


def test_rows_of_one_image_are_drawn_together() -> None:
    # Ten equal rows on each of 20 images carry no more information than 20 rows.
    values = np.repeat(np.arange(20) % 2, 10)
    clustered = interval_of(values, [str(row // 10) for row in range(200)])
    one_row_each = interval_of(values[::10], [str(row) for row in range(20)])
    independent = interval_of(values, [str(row) for row in range(200)])
    assert clustered == one_row_each
    assert clustered.high - clustered.low > 2.5 * (independent.high - independent.low)


def test_chunks_do_not_change_what_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    values, groups = np.arange(10.0), list("abcdefghij")
    whole = interval_of(values, groups)
    monkeypatch.setattr(intervals, "_CHUNK_SIZE", 70)
    assert interval_of(values, groups) == whole


@given(st.lists(st.tuples(st.integers(0, 100), st.sampled_from("abcd")), min_size=1), st.randoms())
def test_the_interval_lies_within_the_data_whatever_the_order_of_rows(rows, random) -> None:
    rows = [*rows, (np.nan, "not counted")]
    values, groups = zip(*rows, strict=True)
    interval = interval_of(values, groups, num_resamples=50)
    if len(set(groups)) == 2:
        assert (interval.low, interval.high) == (None, None)
        return
    assert np.nanmin(values) - 1e-9 <= interval.low / 100 <= interval.high / 100 <= np.nanmax(values) + 1e-9
    values, groups = zip(*random.sample(rows, len(rows)), strict=True)
    assert interval == interval_of(values, groups, num_resamples=50)
