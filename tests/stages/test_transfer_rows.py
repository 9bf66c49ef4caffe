import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from openmedq import paths
from openmedq.config import SCRATCH, Params
from openmedq.datasets import catalogue
from openmedq.errors import ModelError, SourceError
from openmedq.evaluation import benchmark, transfer
from openmedq.storage.progress import NoLog
from tests.stages.transfers import BENCHMARK, NO_SPLIT, SEVERAL_LABELS, make_params, run_transfer, select_tuned


def _read_parts(project: Path, name: str, params: Params) -> benchmark.Benchmark:
    index = pq.read_table(project / paths.MIX / "index.parquet")
    rows = index.filter(pa.compute.equal(index["source"], name))
    preprocessing = transfer.own.draw(params.train.vision, 0).preprocessing
    return benchmark.Benchmark(catalogue.read(paths.CATALOGUE)[name], rows, params, preprocessing)


@pytest.mark.parametrize("name", [BENCHMARK, SEVERAL_LABELS, NO_SPLIT])
def test_validation_rows_are_no_test_rows_and_no_copies_of_training_rows(
    name: str, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project)
    read = _read_parts(project, name, make_params(num_validation_parts=4))
    fitted, validated = ([read.train.ids[row] for row in part] for part in (read.fitted, read.validated))
    assert len({*fitted, *validated, *read.test.ids}) == len(fitted) + len(validated) + len(read.test.ids)
    assert fitted and validated
    if name == BENCHMARK:
        assert all("/val" in row_id for row_id in validated), validated
        return
    assert 0.15 < len(validated) / len(read.train) < 0.35, "one of four parts"
    shard = pq.read_table(paths.SAMPLES / name / "shard-00000.parquet", columns=["id", "images"])
    pixels = {row["id"]: row["images"][0]["pixels_sha256"] for row in shard.to_pylist()}
    assert {pixels[row_id] for row_id in fitted}.isdisjoint(pixels[row_id] for row_id in validated)


@pytest.mark.parametrize("name", [BENCHMARK, SEVERAL_LABELS])
def test_test_rows_do_not_influence_the_epoch_and_the_weights(
    name: str, project: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    params = make_params(benchmarks=(name,), num_epochs=3, max_rows=48)
    weights: list[dict[str, Any]] = []
    predict = transfer.predict

    def record(model: Any, *args: Any, **kwargs: Any) -> Any:
        weights.append({key: tensor.clone() for key, tensor in model.state_dict().items()})
        return predict(model, *args, **kwargs)

    monkeypatch.setattr(transfer, "predict", record)
    first = run_transfer(project, monkeypatch, params)
    shutil.copytree(project / "data", tmp_path / "data")
    path = tmp_path / paths.SAMPLES / name / "shard-00000.parquet"
    rows = pq.read_table(path)
    records = rows.to_pylist()
    scored = catalogue.read(project / paths.CATALOGUE)[name].scored
    changed = [row for row in records if row["split"] in scored]
    other = [(row["labels"], row["images"]) for row in changed[1:] + changed[:1]]
    for row, (labels, images) in zip(changed, reversed(other), strict=True):
        row["labels"], row["images"] = labels, images
    pq.write_table(pa.Table.from_pylist(records, rows.schema), path, row_group_size=rows.num_rows)
    index = pq.read_table(tmp_path / paths.MIX / "index.parquet").to_pylist()
    assert len({row["row_group"] for row in index if row["source"] == name}) == 1, "places are as before"
    second = run_transfer(tmp_path, monkeypatch, params)
    assert [row["labels"] for row in select_tuned(first[1])] != [row["labels"] for row in select_tuned(second[1])]
    assert first[0][name][SCRATCH]["best_epochs"] == second[0][name][SCRATCH]["best_epochs"]
    assert all(torch.equal(weights[0][key], tensor) for key, tensor in weights[1].items())


def test_the_epoch_of_the_lowest_validation_loss_is_kept(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    losses = iter([3.0, 2.0, 2.5, 2.0])
    states: list[dict[str, Any]] = []

    def validate(model: Any, batches: Any, _: Any) -> float:
        assert len(list(batches)) == 3, "40 rows in batches of 16"
        states.append({key: tensor.clone() for key, tensor in model.state_dict().items()})
        return next(losses)

    monkeypatch.setattr("openmedq.evaluation.classifier._validate", validate)
    kept: list[dict[str, Any]] = []
    predict = transfer.predict
    monkeypatch.setattr(transfer, "predict", lambda m, *a, **k: kept.append(m.state_dict()) or predict(m, *a, **k))
    metrics, predictions, _ = run_transfer(project, monkeypatch, make_params(num_epochs=4))
    assert metrics[BENCHMARK][SCRATCH]["best_epochs"] == [2]
    assert {row["epoch"] for row in predictions} == {2, None}
    assert all(torch.equal(kept[0][key], tensor) for key, tensor in states[1].items())
    assert not all(torch.equal(kept[0][key], tensor) for key, tensor in states[2].items())


@pytest.mark.parametrize("kind", ["training", "validation"])
def test_a_loss_that_is_not_finite_is_one_line(kind: str, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if kind == "training":
        monkeypatch.setattr("openmedq.evaluation.classifier.functional.cross_entropy", lambda x, _: x.sum() * math.nan)
    else:
        monkeypatch.setattr("openmedq.evaluation.classifier._validate", lambda *_: math.inf)
    with pytest.raises(ModelError) as caught:
        run_transfer(project, monkeypatch, make_params(num_epochs=2))
    value = "nan" if kind == "training" else "inf"
    expected = f"transfer: {BENCHMARK}, seed 0: epoch 1: the {kind} loss is {value}; lower transfer.lr (0.001)"
    assert str(caught.value) == expected


@pytest.mark.parametrize(
    ("name", "split", "words"),
    [
        (BENCHMARK, "train", r"^pneumonia_mnist: no row of split train in the mix; add its files"),
        (BENCHMARK, "val", r"^pneumonia_mnist: no row of split val in the mix"),
        (BENCHMARK, "test", r"^pneumonia_mnist: no row of split test in the mix"),
        (
            NO_SPLIT,
            "all",
            r"^breast_ultrasound: 2 groups of rows can't be divided into 5 parts; lower transfer.num_parts$",
        ),
    ],
)
def test_a_benchmark_that_is_half_there(
    name: str, split: str, words: str, project: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    shutil.copytree(project / "data", tmp_path / "data")
    path = tmp_path / paths.MIX / "index.parquet"
    index = pq.read_table(path)
    is_other = [row["source"] != name or row["split"] != split for row in index.to_pylist()]
    kept = index.filter(is_other)
    if split == "all":
        kept = index.filter([not each for each in is_other]).slice(0, 2)
    pq.write_table(kept, path)
    params = make_params(benchmarks=(name,))
    with pytest.raises(SourceError, match=words):
        run_transfer(tmp_path, monkeypatch, params)
    if split == "all":  # nothing is left to lower
        pq.write_table(kept.slice(0, 1), path)
        with pytest.raises(SourceError, match=r"into 2 parts; add rows, or remove it from transfer.benchmarks$"):
            run_transfer(tmp_path, monkeypatch, make_params(benchmarks=(name,), num_parts=2))


def test_a_label_that_the_card_has_not(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)
    cards = catalogue.read(paths.CATALOGUE)
    known = cards[SEVERAL_LABELS].model_copy(update={"classes": ("ulcer", "erosion")})
    monkeypatch.setattr(transfer.catalogue, "read", lambda _: {**cards, SEVERAL_LABELS: known})
    with pytest.raises(SourceError, match=r"label '\w+' is not among the classes of its dataset's card"):
        transfer.run(make_params(benchmarks=(SEVERAL_LABELS,)), SCRATCH, NoLog())


def test_small_memory_for_pixels(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)
    monkeypatch.setattr(benchmark, "MAX_CACHE_BYTES", 200_000)
    read = _read_parts(project, BENCHMARK, make_params())
    for part in (read.train, read.test):
        for _ in range(2):
            assert sum(len(rows) for rows, _ in part.read(benchmark.cut(np.arange(len(part)), 16))) == len(part)
    kept = [sum(pixels.nbytes for pixels in part.images._cache.values()) for part in (read.train, read.test)]
    assert 0 < sum(kept) <= 200_000 < sum(map(len, (read.train, read.test))) * 3 * 48 * 48
