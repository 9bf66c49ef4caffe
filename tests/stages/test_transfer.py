import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from sklearn.metrics import roc_auc_score

from openmedq import paths
from openmedq.config import OURS, SCRATCH, Encoder
from openmedq.datasets import catalogue
from openmedq.errors import ModelError, ParamsError
from openmedq.evaluation import benchmark, encoder_table, probes, transfer
from openmedq.evaluation.classifier import Classifier
from openmedq.evaluation.encoder_table import PREDICTION_SCHEMA
from openmedq.storage.progress import NoLog
from tests.evaluation.layouts import draw_resnet
from tests.evaluation.metrics.scoring import macro_f1
from tests.stages.transfers import BENCHMARK, NO_SPLIT, SEVERAL_LABELS, make_params, run_transfer, select_tuned


def measure(rows: list[dict[str, Any]], name: str) -> dict[str, float]:
    """The scores of predictions, with their intervals."""
    table = pa.Table.from_pylist(rows, PREDICTION_SCHEMA)
    classes = catalogue.read(paths.CATALOGUE)[name].classes
    return encoder_table.bound_all(encoder_table.measure(table, classes, 50), 0.95)


@pytest.mark.parametrize("encoder", [OURS, SCRATCH])
def test_scores_are_those_of_the_predictions(encoder: str, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    metrics, predictions, logged = run_transfer(
        project, monkeypatch, make_params(seeds=(0, 1), num_epochs=2, max_rows=48), encoder
    )
    scores = metrics[BENCHMARK][encoder]
    methods = {"fine_tuned": scores} | {name: each for name, each in scores.items() if isinstance(each, dict)}
    assert list(methods) == ["fine_tuned", "few_shot_1", "few_shot_5", "few_shot_10", "knn", "linear_probe"]
    for method, found in methods.items():
        own = [row for row in predictions if (row["encoder"], row["method"]) == (encoder, method)]
        num_seeds = 1 if method in ("knn", "linear_probe") else 2
        assert len(own) == num_seeds * metrics[BENCHMARK]["num_test_rows"]
        assert {name: found[name] for name in measure(own, BENCHMARK)} == measure(own, BENCHMARK), method
    assert metrics["mean"][encoder]["macro_f1"] == pytest.approx(scores["macro_f1"])
    assert logged[f"mean/{encoder}/macro_f1"] == metrics["mean"][encoder]["macro_f1"]
    assert len(scores["best_epochs"]) == 2 and all(1 <= epoch <= 2 for epoch in scores["best_epochs"])


def test_only_test_rows_are_predicted_and_only_training_rows_are_trained_on(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, predictions, _ = run_transfer(project, monkeypatch, make_params(num_epochs=1))
    index = pq.read_table(project / paths.MIX / "index.parquet").to_pylist()
    tested = [row["id"] for row in index if (row["source"], row["split"]) == (BENCHMARK, "test")]
    assert [row["id"] for row in select_tuned(predictions)] == tested
    seen: list[str] = []
    decode = benchmark.decode
    monkeypatch.setattr(benchmark, "decode", lambda image, *size: seen.append(image.image_id) or decode(image, *size))
    monkeypatch.setattr(transfer, "predict", lambda *_, **__: [[1.0, 0.0]] * len(tested))
    monkeypatch.setattr(transfer.probes, "predict", lambda *_, **__: iter([("knn", 0, np.full((len(tested), 2), 0.5))]))
    monkeypatch.setattr(transfer.probes, "extract", lambda *_: np.zeros((1, 1), np.float32))
    transfer.run(make_params(num_epochs=2), SCRATCH, NoLog())
    assert len(seen) == len(set(seen)) > 0, "each image is decoded once"
    splits = {name.split("-")[0] for name in seen}
    assert splits == {"train", "val"}, "training reads images of the training and validation splits only"


def test_an_encoder_of_other_weights_and_of_another_size(
    project: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    torch.save({"state_dict": {f"visual.{name}": tensor for name, tensor in draw_resnet().items()}}, tmp_path / "a.pt")
    encoders = {"pmc": Encoder(weights=str(tmp_path / "a.pt"))}
    metrics, predictions, logged = run_transfer(
        project, monkeypatch, make_params(encoders=encoders, num_epochs=1, max_rows=24), "pmc"
    )
    assert {row["encoder"] for row in predictions} == {"pmc"}
    assert set(metrics["mean"]) == {"pmc"} and "mean/pmc/macro_f1" in logged
    with pytest.raises(ParamsError, match="no encoder 'ours'; there are pmc"):
        transfer.run(make_params(encoders=encoders), OURS, NoLog())


def test_scratch_needs_no_model(project: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    shutil.copytree(project / "data", tmp_path / "data", ignore=shutil.ignore_patterns("model"))
    assert run_transfer(tmp_path, monkeypatch, make_params(num_epochs=1, max_rows=24))[0]
    with pytest.raises(ModelError, match="data/model: no model there"):
        run_transfer(tmp_path, monkeypatch, make_params(num_epochs=1), OURS)


def test_the_size_of_the_images_and_the_precision_are_settings(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: set[object] = set()

    def record(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        if isinstance(module, torch.nn.Linear) and torch.is_grad_enabled():
            seen.add(output.dtype)
        elif isinstance(module, Classifier):
            seen.add(tuple(inputs[0].shape[2:]))

    params = make_params(num_epochs=1, image_size_px=16, max_rows=24)
    params = params.model_copy(update={"train": params.train.model_copy(update={"precision": "bf16"})})
    hook = torch.nn.modules.module.register_module_forward_hook(record)
    try:
        run_transfer(project, monkeypatch, params)
    finally:
        hook.remove()
    assert seen == {(16, 16), torch.bfloat16}
    with pytest.raises(ModelError, match=r"^transfer\.image_size_px: ours: can't encode RGB images of 16 x 16 px"):
        run_transfer(project, monkeypatch, params, OURS)
    with pytest.raises(ModelError, match=r"^transfer\.image_size_px: scratch: can't encode RGB images of 1 x 1 px"):
        run_transfer(project, monkeypatch, make_params(image_size_px=1))


def test_what_is_done_is_not_done_again_after_a_kill(
    project: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    shutil.copytree(project / "data", tmp_path / "data")
    settings = {"num_epochs": 1, "max_rows": 24}
    params = make_params(benchmarks=(BENCHMARK, NO_SPLIT), seeds=(0, 1), **settings)
    whole = run_transfer(tmp_path, monkeypatch, params)
    assert not (tmp_path / transfer.KEPT / f"transfer-{SCRATCH}").exists()
    done: list[int] = []
    fine_tune = transfer.fine_tune

    def count(*args: Any, **named: Any) -> Any:
        if len(done) == stop:
            raise KeyboardInterrupt
        done.append(1)
        return fine_tune(*args, **named)

    monkeypatch.setattr(transfer, "fine_tune", count)
    stop = 3
    with pytest.raises(KeyboardInterrupt):
        run_transfer(tmp_path, monkeypatch, params)
    stop = 9
    extracted: list[int] = []
    extract = probes.extract
    monkeypatch.setattr(probes, "extract", lambda *given: extracted.append(1) or extract(*given))
    assert run_transfer(tmp_path, monkeypatch, params)[:2] == whole[:2]
    assert len(done) == 4, "three before the kill, one after it"
    assert len(extracted) == 2, "training and test rows of one benchmark; predictions of the other one were kept"
    stop = 10
    with pytest.raises(KeyboardInterrupt):
        done += [1] * 5
        run_transfer(tmp_path, monkeypatch, params)
    stop = 99
    done.clear()
    run_transfer(tmp_path, monkeypatch, make_params(benchmarks=(BENCHMARK,), seeds=(0,), lr=2e-3, **settings))
    assert len(done) == 1, "other settings"


def test_loader_processes_and_a_full_cache_change_no_prediction(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    params = make_params(num_epochs=2, max_rows=24)
    alone = run_transfer(project, monkeypatch, params)
    monkeypatch.setattr(benchmark, "MAX_CACHE_BYTES", 100_000)
    two = params.model_copy(update={"execution": params.execution.model_copy(update={"workers": 2})})
    assert run_transfer(project, monkeypatch, two) == alone


def test_it_learns_what_the_images_show(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    metrics, _, _ = run_transfer(project, monkeypatch, make_params(num_epochs=10, lr=3e-3))
    assert metrics[BENCHMARK]["scratch"]["macro_f1"] > 0.7


def test_an_absent_benchmark_is_skipped(project: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    shutil.copytree(project / "data", tmp_path / "data")
    index = pq.read_table(tmp_path / paths.MIX / "index.parquet")
    pq.write_table(index.slice(0, 0), tmp_path / paths.MIX / "index.parquet")
    metrics, predictions, _ = run_transfer(tmp_path, monkeypatch, make_params())
    assert metrics == {}
    assert predictions == []


def test_several_labels_a_row_are_those_above_the_threshold(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    params = make_params(benchmarks=(SEVERAL_LABELS,), num_epochs=2, threshold=0.3)
    metrics, predictions, _ = run_transfer(project, monkeypatch, params)
    classes = catalogue.read(project / paths.CATALOGUE)[SEVERAL_LABELS].classes
    for row in predictions:
        pairs = zip(classes, row["probabilities"], strict=True)
        assert row["predictions"] == [name for name, probability in pairs if probability > 0.3]
    predictions = select_tuned(predictions)
    assert any(not row["labels"] for row in predictions), "rows without any label are scored too"
    expected = measure(predictions, SEVERAL_LABELS)
    assert {name: metrics[SEVERAL_LABELS]["scratch"][name] for name in expected} == expected
    has_rows = [name for name in classes if any(name in row["labels"] for row in predictions)]
    assert metrics[SEVERAL_LABELS]["classes_without_test_rows"] == sorted(set(classes) - set(has_rows)) != []
    areas = metrics[SEVERAL_LABELS]["scratch"]["auroc_of"]
    assert list(areas) == has_rows
    for name in has_rows:
        is_own, own = [name in row["labels"] for row in predictions], classes.index(name)
        area = roc_auc_score(is_own, [row["probabilities"][own] for row in predictions])
        assert areas[name]["auroc"] == pytest.approx(area)
    mean = sum(each["auroc"] for each in areas.values()) / len(areas)
    assert metrics[SEVERAL_LABELS]["scratch"]["auroc"] == pytest.approx(mean)


def test_several_labels_are_learned(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    params = make_params(benchmarks=(SEVERAL_LABELS,), num_epochs=15, lr=5e-3)
    metrics, predictions, _ = run_transfer(project, monkeypatch, params)
    classes = catalogue.read(project / paths.CATALOGUE)[SEVERAL_LABELS].classes
    labels = [row["labels"] for row in select_tuned(predictions)]
    blind = macro_f1(labels, [classes] * len(labels), classes)  # every class to every row
    assert metrics[SEVERAL_LABELS]["scratch"]["macro_f1"] > blind + 0.1, blind
