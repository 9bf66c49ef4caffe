"""transfer: encoders compared on classification datasets by one recipe."""

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from sklearn.metrics import f1_score

from openmedq import config, paths
from openmedq.config import OURS, SCRATCH, Encoder, Params
from openmedq.curate import deduplicate, mix, normalize
from openmedq.datasets import catalogue, registry
from openmedq.errors import ModelError, ParamsError
from openmedq.evaluation import benchmark, transfer
from openmedq.fetch import download, manifest
from openmedq.model import model as models
from openmedq.storage.progress import NoLog
from openmedq.synthetic import miniature
from tests.evaluation.layouts import draw_resnet
from tests.evaluation.metrics.scoring import macro_f1
from tests.model import tiny
from tests.recorded import Recorded

ROOT = Path(__file__).parents[2]
BENCHMARK = "pneumonia_mnist"
SEVERAL_LABELS, NO_SPLIT = "medfmc_endo", "breast_ultrasound"


def _params(**settings: object) -> Params:
    profile = config.profile(ROOT / paths.CONF, "miniature")
    update = {"benchmarks": (BENCHMARK,), "num_epochs": 12, "lr": 1e-3, "num_resamples": 50}
    changed = profile.transfer.model_copy(update={**update, **settings})
    return profile.model_copy(update={"transfer": changed})


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A mix that holds three benchmarks alone, and a model that has not been trained."""
    root = tmp_path_factory.mktemp("transfer")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        paths.CATALOGUE.parent.mkdir()
        shutil.copy(ROOT / paths.CATALOGUE, paths.CATALOGUE)
        shutil.copy(ROOT / paths.FORGOTTEN, paths.FORGOTTEN)
        params = _params()
        for name in (BENCHMARK, SEVERAL_LABELS, NO_SPLIT):
            miniature.run(params, registry.load(name))
        manifest.run(params)
        for name in catalogue.read(paths.CATALOGUE):
            download.run(params, registry.load(name))
            normalize.run(params, registry.load(name))
        deduplicate.run(params)
        mix.run(params)
        torch.manual_seed(0)
        model, processor = models.build(params.train, ["is there an opacity? yes no"])
        tiny.shake(model)  # adapters without effect are not saved
        models.save(model, processor, paths.MODEL)
    return root


def _run(
    project: Path, monkeypatch: pytest.MonkeyPatch, params: Params, encoder: str = SCRATCH
) -> tuple[dict, list[dict], dict]:
    monkeypatch.chdir(project)
    logged = Recorded()
    transfer.run(params, encoder, logged)
    folder = paths.TRANSFER / encoder
    metrics = json.loads((folder / transfer.METRICS).read_text(encoding="utf-8"))
    return metrics, pq.read_table(folder / transfer.PREDICTIONS).to_pylist(), logged.metrics


@pytest.mark.parametrize("encoder", [OURS, SCRATCH])
def test_scores_are_those_of_the_predictions(encoder: str, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    metrics, predictions, logged = _run(project, monkeypatch, _params(seeds=(0, 1), num_epochs=2), encoder)
    assert len(predictions) == 2 * metrics[BENCHMARK]["num_test_rows"]
    per_seed = []
    for seed in (0, 1):
        own = [row for row in predictions if (row["encoder"], row["seed"]) == (encoder, seed)]
        labels, answers = [row["labels"][0] for row in own], [row["predictions"][0] for row in own]
        per_seed.append(f1_score(labels, answers, average="macro"))
    assert metrics[BENCHMARK][encoder]["macro_f1"] == pytest.approx(sum(per_seed) / 2)
    assert metrics["mean"][encoder]["macro_f1"] == pytest.approx(sum(per_seed) / 2)
    assert logged[f"mean/{encoder}/macro_f1"] == metrics["mean"][encoder]["macro_f1"]


def test_only_test_rows_are_predicted_and_only_training_rows_are_trained_on(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, predictions, _ = _run(project, monkeypatch, _params(num_epochs=1))
    index = pq.read_table(project / paths.MIX / "index.parquet").to_pylist()
    tested = [row["id"] for row in index if (row["source"], row["split"]) == (BENCHMARK, "test")]
    assert [row["id"] for row in predictions] == tested
    seen: list[str] = []
    decode = benchmark.decode
    monkeypatch.setattr(benchmark, "decode", lambda image, *size: seen.append(image.image_id) or decode(image, *size))
    monkeypatch.setattr(transfer, "predict", lambda *_, **__: [[1.0, 0.0]] * len(tested))
    monkeypatch.setattr(transfer, "_probe", lambda *_: {})  # it reads the test rows too
    transfer.run(_params(num_epochs=2), SCRATCH, NoLog())
    assert len(seen) == len(set(seen)) > 0, "each image is decoded once"
    assert all("train" in name for name in seen), "training reads images of the training split only"


def test_an_encoder_of_other_weights_and_of_another_size(
    project: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    torch.save({"state_dict": {f"visual.{name}": tensor for name, tensor in draw_resnet().items()}}, tmp_path / "a.pt")
    encoders = {"pmc": Encoder(weights=str(tmp_path / "a.pt"))}
    metrics, predictions, logged = _run(project, monkeypatch, _params(encoders=encoders, num_epochs=1), "pmc")
    assert {row["encoder"] for row in predictions} == {"pmc"}
    assert set(metrics["mean"]) == {"pmc"} and "mean/pmc/macro_f1" in logged
    with pytest.raises(ParamsError, match="no encoder 'ours'; there are pmc"):
        transfer.run(_params(encoders=encoders), OURS, NoLog())


def test_scratch_needs_no_model(project: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    shutil.copytree(project / "data", tmp_path / "data", ignore=shutil.ignore_patterns("model"))
    assert _run(tmp_path, monkeypatch, _params(num_epochs=1))[0]
    with pytest.raises(ModelError, match="data/model: the model can't be loaded"):
        _run(tmp_path, monkeypatch, _params(num_epochs=1), OURS)


def test_what_is_done_is_not_done_again_after_a_kill(
    project: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    shutil.copytree(project / "data", tmp_path / "data")
    params = _params(benchmarks=(BENCHMARK, NO_SPLIT), seeds=(0, 1), num_epochs=1)
    whole = _run(tmp_path, monkeypatch, params)
    assert not (tmp_path / transfer.KEPT / f"transfer-{SCRATCH}").exists()
    done: list[int] = []
    fine_tune = transfer.fine_tune

    def count(*args: Any) -> Any:
        if len(done) == stop:
            raise KeyboardInterrupt
        done.append(1)
        return fine_tune(*args)

    monkeypatch.setattr(transfer, "fine_tune", count)
    stop = 3
    with pytest.raises(KeyboardInterrupt):
        _run(tmp_path, monkeypatch, params)
    stop = 9
    assert _run(tmp_path, monkeypatch, params)[:2] == whole[:2]
    assert len(done) == 4, "three before the kill, one after it"
    stop = 10
    with pytest.raises(KeyboardInterrupt):
        done += [1] * 5
        _run(tmp_path, monkeypatch, params)
    stop = 99
    done.clear()
    _run(tmp_path, monkeypatch, _params(benchmarks=(BENCHMARK,), seeds=(0,), num_epochs=1, lr=2e-3))
    assert len(done) == 1, "other settings"


def test_loader_processes_and_a_full_cache_change_no_prediction(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    params = _params(num_epochs=2, max_rows=24)
    alone = _run(project, monkeypatch, params)
    monkeypatch.setattr(benchmark, "MAX_CACHE_BYTES", 100_000)
    two = params.model_copy(update={"execution": params.execution.model_copy(update={"workers": 2})})
    assert _run(project, monkeypatch, two) == alone


def test_it_learns_what_the_images_show(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    metrics, _, _ = _run(project, monkeypatch, _params(num_epochs=30))
    assert metrics[BENCHMARK]["scratch"]["macro_f1"] > 0.7


def test_two_runs_give_the_same_bytes(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _run(project, monkeypatch, _params(num_epochs=2))
    files = [project / paths.TRANSFER / SCRATCH / name for name in (transfer.PREDICTIONS, transfer.METRICS)]
    first = [file.read_bytes() for file in files]
    _run(project, monkeypatch, _params(num_epochs=2))
    assert first == [file.read_bytes() for file in files]


def test_an_absent_benchmark_is_skipped(project: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    shutil.copytree(project / "data", tmp_path / "data")
    index = pq.read_table(tmp_path / paths.MIX / "index.parquet")
    pq.write_table(index.slice(0, 0), tmp_path / paths.MIX / "index.parquet")
    metrics, predictions, _ = _run(tmp_path, monkeypatch, _params())
    assert metrics == {}
    assert predictions == []


def test_several_labels_a_row_are_those_above_the_threshold(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    params = _params(benchmarks=(SEVERAL_LABELS,), num_epochs=2, threshold=0.3)
    metrics, predictions, _ = _run(project, monkeypatch, params)
    classes = catalogue.read(project / paths.CATALOGUE)[SEVERAL_LABELS].classes
    for row in predictions:
        pairs = zip(classes, row["probabilities"], strict=True)
        assert row["predictions"] == [name for name, probability in pairs if probability > 0.3]
    assert any(not row["labels"] for row in predictions), "rows without any label are scored too"
    marks = [[[name in row[column] for name in classes] for row in predictions] for column in ("labels", "predictions")]
    seen = [place for place in range(len(classes)) if any(row[place] for column in marks for row in column)]
    expected = f1_score(*marks, average=None, zero_division=0)[seen].mean()
    assert metrics[SEVERAL_LABELS]["scratch"]["macro_f1"] == pytest.approx(expected)


def test_several_labels_are_learned(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    metrics, predictions, _ = _run(project, monkeypatch, _params(benchmarks=(SEVERAL_LABELS,), num_epochs=60))
    classes = catalogue.read(project / paths.CATALOGUE)[SEVERAL_LABELS].classes
    labels = [row["labels"] for row in predictions]
    blind = macro_f1(labels, [classes] * len(labels), classes)  # every class to every row
    assert metrics[SEVERAL_LABELS]["scratch"]["macro_f1"] > blind + 0.1, blind


def test_a_dataset_without_a_split_is_divided_and_no_copy_is_on_both_sides(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    params = _params(benchmarks=(NO_SPLIT,), num_epochs=1)
    metrics, predictions, _ = _run(project, monkeypatch, params)
    index = pq.read_table(project / paths.MIX / "index.parquet").to_pylist()
    rows = {row["id"] for row in index if row["source"] == NO_SPLIT}
    scored = {row["id"] for row in predictions}
    assert scored < rows
    assert metrics[NO_SPLIT]["num_train_rows"] + metrics[NO_SPLIT]["num_test_rows"] == len(rows)
    assert 0.1 < len(scored) / len(rows) < 0.3
    shard = pq.read_table(project / paths.SAMPLES / NO_SPLIT / "shard-00000.parquet", columns=["id", "images"])
    pixels = {row["id"]: row["images"][0]["pixels_sha256"] for row in shard.to_pylist() if row["id"] in rows}
    assert {pixels[name] for name in scored}.isdisjoint(pixels[name] for name in rows - scored)
    assert {row["id"] for row in _run(project, monkeypatch, params)[1]} == scored
