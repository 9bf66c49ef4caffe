"""A project with three benchmarks, and runs of the stage `transfer` on it."""

import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch

from openmedq import config, paths, synthetic
from openmedq.config import SCRATCH, Params
from openmedq.curate import deduplicate, mix, normalize
from openmedq.datasets import catalogue, registry
from openmedq.evaluation import transfer
from openmedq.evaluation.encoder_table import FINE_TUNED, PREDICTION_SCHEMA
from openmedq.fetch import download, manifest
from openmedq.model import model as models
from tests.model import tiny
from tests.recorded import Recorded

ROOT = Path(__file__).parents[2]
BENCHMARK = "pneumonia_mnist"
SEVERAL_LABELS, NO_SPLIT = "medfmc_endo", "breast_ultrasound"


def make_params(**settings: object) -> Params:
    profile = config.profile(ROOT / paths.CONF, "miniature")
    update = {"benchmarks": (BENCHMARK,), "num_epochs": 12, "lr": 1e-3, "num_resamples": 50}
    changed = profile.transfer.model_copy(update={**update, **settings})
    return profile.model_copy(update={"transfer": changed})


def make_project(root: Path) -> None:
    """A mix that holds three benchmarks alone, and a model that has not been trained."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        paths.CATALOGUE.parent.mkdir()
        shutil.copy(ROOT / paths.CATALOGUE, paths.CATALOGUE)
        for path in (paths.FORGOTTEN, paths.CATALOGUE.with_name("copies.csv")):
            shutil.copy(ROOT / path, path)
        params = make_params()
        for name in (BENCHMARK, SEVERAL_LABELS, NO_SPLIT):
            synthetic.run(params, registry.load(name))
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


def run_transfer(
    project: Path, monkeypatch: pytest.MonkeyPatch, params: Params, encoder: str = SCRATCH
) -> tuple[dict, list[dict], dict]:
    monkeypatch.chdir(project)
    logged = Recorded()
    transfer.run(params, encoder, logged)
    folder = paths.TRANSFER / encoder
    metrics = json.loads((folder / transfer.METRICS).read_text(encoding="utf-8"))
    predictions = pq.read_table(folder / transfer.PREDICTIONS)
    assert predictions.schema.equals(PREDICTION_SCHEMA)
    return metrics, predictions.to_pylist(), logged.metrics


def select_tuned(predictions: list[dict]) -> list[dict]:
    return [row for row in predictions if row["method"] == FINE_TUNED]
