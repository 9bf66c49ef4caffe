from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from sklearn.metrics import balanced_accuracy_score, f1_score, roc_auc_score

from openmedq.evaluation import encoder_table
from openmedq.evaluation.encoder_table import FINE_TUNED, PREDICTION_SCHEMA
from openmedq.evaluation.metrics.classification import auroc

CLASSES = ["a", "b", "c"]
NUM_ROWS = 60


def make(
    encoder: str,
    quality: float,
    *,
    benchmark: str = "one",
    seeds: tuple[int, ...] = (0, 1),
    several: bool = False,
    **changes: Any,
) -> pa.Table:
    """Predictions that are right more often the higher the quality; two rows a group."""
    true = np.random.default_rng(7).integers(0, 3, NUM_ROWS)
    records = []
    for seed in seeds:
        rng = np.random.default_rng([seed, *map(ord, encoder)])
        scores = rng.random((NUM_ROWS, 3)) + quality * np.eye(3)[true]
        probabilities = scores / scores.sum(axis=1, keepdims=True)
        for row in range(NUM_ROWS):
            own = probabilities[row].astype(np.float32).tolist()
            labels = [CLASSES[true[row]]]
            predicted = [CLASSES[int(np.argmax(own))]]
            if several:
                labels = labels * (row % 5 > 0) + ["c"] * int(true[row] == 1)
                predicted = [name for name, each in zip(CLASSES, own, strict=True) if each > 0.35]
            record = {"benchmark": benchmark, "encoder": encoder, "method": FINE_TUNED, "seed": seed, "epoch": 1}
            record |= {"id": f"{benchmark}/{row}", "group": row // 2, "labels": labels, "predictions": predicted}
            records.append({**record, "probabilities": own, **changes})
    return pa.Table.from_pylist(records, PREDICTION_SCHEMA)


@pytest.mark.parametrize("several", [False, True])
def test_scores_and_resamples_are_scikit_learns(several: bool) -> None:
    table = make("x", 0.4, several=several)
    measured = encoder_table.measure(table, CLASSES, 5)
    rows = table.to_pylist()
    counts = np.concatenate(list(encoder_table._draw(30, 5, encoder_table._seed(table))))
    assert counts.shape == (6, 30) and (counts.sum(axis=1) == 30).all() and (counts[0] == 1).all()
    for draw, count in enumerate(counts):
        per_seed = []
        for seed in (0, 1):
            own = [row for row in rows if row["seed"] == seed for _ in range(int(count[row["group"]]))]
            true, predicted = (
                np.array([[name in row[column] for name in CLASSES] for row in own])
                for column in ("labels", "predictions")
            )
            areas = [
                roc_auc_score(true[:, k], [row["probabilities"][k] for row in own])
                for k in range(3)
                if 0 < true[:, k].sum() < len(own)
            ]
            if several:
                kept = [k for k in range(3) if 0 < true[:, k].sum() < len(own)]
                balanced = np.mean([balanced_accuracy_score(true[:, k], predicted[:, k]) for k in kept])
            else:
                balanced = balanced_accuracy_score(true.argmax(axis=1), predicted.argmax(axis=1))
            per_seed.append([f1_score(true, predicted, average="macro"), balanced, np.mean(areas)])
        expected = np.mean(per_seed, axis=0)
        found = [measured[name][draw] for name in ("macro_f1", "balanced_accuracy", "auroc")]
        np.testing.assert_allclose(found, expected)


def test_auroc_of_ties_and_of_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    true, scores, draws = rng.random((40, 2)) < 0.4, rng.integers(0, 4, (40, 2)) / 4, rng.integers(0, 3, (9, 40)) * 1.0
    found = auroc(true, scores, np.arange(40), draws)
    monkeypatch.setattr("openmedq.evaluation.metrics.classification._CHUNK_SIZE", 100)
    np.testing.assert_array_equal(found, auroc(true, scores, np.arange(40), draws))
    for row, weights in zip(found, draws, strict=True):
        expected = [roc_auc_score(true[:, k], scores[:, k], sample_weight=weights) for k in range(2)]
        np.testing.assert_allclose(row, expected)
    assert np.isnan(auroc(np.ones((3, 1), bool), np.zeros((3, 1)), np.arange(3), np.ones((1, 3)))).all()


def test_one_group_has_no_interval_and_an_undefined_score_is_absent() -> None:
    table = make("x", 0.4, seeds=(0,), group=0, labels=["a"])
    measured = encoder_table.measure(table, CLASSES, 9)
    assert set(encoder_table.bound_all(measured, 0.95)) == {"macro_f1", "balanced_accuracy"}
    assert "auroc" not in encoder_table.average([measured, encoder_table.measure(make("x", 0.4), CLASSES, 0)])
    without = encoder_table.measure(make("x", 0.4, labels=[], predictions=[]), CLASSES, 9)
    assert (without["macro_f1"] == 0).all(), "as in scikit-learn"


@pytest.mark.parametrize("several", [False, True])
def test_an_interval_contains_the_score_although_resamples_lack_rare_classes(several: bool) -> None:
    """One row each of 18 classes, which is wrong, beside 40 right rows of a frequent class."""
    classes = ["frequent", *(f"rare {number}" for number in range(18))]
    labels = [["frequent"]] * 40 + [[name] for name in classes[1:]]
    predictions = [[]] * 58 if several else [["frequent"]] * 58
    rows = [
        {"benchmark": "x", "seed": 0, "group": row, "labels": own, "predictions": given or own * (row < 40)}
        | {"probabilities": [float(name in own) * (row < 40) for name in classes]}
        for row, (own, given) in enumerate(zip(labels, predictions, strict=True))
    ]
    if several:
        rows[0]["labels"] = ["frequent", "rare 1"]
    scores = encoder_table.bound_all(encoder_table.measure(pa.Table.from_pylist(rows), classes, 500), 0.95)
    for name in ("macro_f1", "balanced_accuracy", "auroc"):
        assert scores[f"{name}_low"] <= scores[name] <= scores[f"{name}_high"], name


def test_the_better_encoder_and_an_equal_one() -> None:
    tables = {
        "ours": pa.concat_tables([make("ours", 1.0), make("ours", 0.4, benchmark="other")]),
        "weak": pa.concat_tables(
            [make("weak", 0.1), make("weak", 0.4, benchmark="other"), make("weak", 1.0, method="knn")]  # not compared
        ),
        "twin": pa.concat_tables([make("ours", 1.0), make("ours", 0.4, benchmark="other")]),
    }
    compared = encoder_table.compare(tables, "ours", num_resamples=500)
    assert list(compared) == ["weak", "twin"]
    row = compared["weak"]["benchmarks"]["one"]
    assert row["difference"] > row["low"] > 0 and row["high"] > row["difference"]
    assert row["p"] == pytest.approx(1 / 501) and row["p_holm"] == pytest.approx(2 / 501)
    assert (row["num_rows"], row["num_groups"]) == (NUM_ROWS, 30)
    other = compared["weak"]["benchmarks"]["other"]
    assert other["low"] < 0 < other["high"] and other["p_holm"] > 0.05
    mean = compared["weak"]["mean"]
    assert mean["difference"] == pytest.approx((row["difference"] + other["difference"]) / 2)
    assert mean["low"] > 0 and mean["p"] < 0.05
    assert compared["twin"]["mean"] == {"difference": 0, "low": 0, "high": 0, "p": 1}
    of_one = encoder_table.compare(tables, "ours", ["one"], num_resamples=500)["weak"]
    assert of_one["benchmarks"] == compared["weak"]["benchmarks"]
    assert of_one["mean"]["difference"] == row["difference"]


def test_the_difference_is_that_of_the_means_over_seeds() -> None:
    tables = {"ours": make("ours", 0.6), "b": make("b", 0.3)}
    row = encoder_table.compare(tables, "ours", num_resamples=50)["b"]["benchmarks"]["one"]
    means = []
    for table in tables.values():
        own = [[row for row in table.to_pylist() if row["seed"] == seed] for seed in (0, 1)]
        scores = [
            f1_score([r["labels"][0] for r in rows], [r["predictions"][0] for r in rows], average="macro")
            for rows in own
        ]
        means.append(sum(scores) / 2)
    assert row["difference"] == pytest.approx(means[0] - means[1])
    assert row["low"] < row["difference"] < row["high"]


def test_benchmarks_of_other_rows_or_seeds_are_left_out() -> None:
    ours = pa.concat_tables(
        [make("ours", 1.0), make("ours", 1.0, benchmark="two"), make("ours", 1.0, benchmark="three")]
    )
    other = pa.concat_tables([make("b", 0.1, seeds=(0, 2)), make("b", 0.1, benchmark="two").slice(1)])
    compared = encoder_table.compare({"ours": ours, "b": other}, "ours")
    assert compared == {"b": {"benchmarks": {}, "left_out": ["one", "three", "two"]}}


def test_holm() -> None:
    """Holm's own steps: the smallest p times m, the next times m - 1, never less than the one before, at most 1."""
    assert encoder_table.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert encoder_table.holm([0.9, 0.6]) == [1.0, 1.0]
    assert encoder_table.holm([]) == []
