import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from openmedq import paths
from openmedq.evaluation import evaluate, zero_shot
from openmedq.evaluation.metrics.predictions import prediction_schema
from openmedq.storage.progress import NoLog
from tests.curate.corpus import make_params
from tests.stages.results import write_run

pytestmark = pytest.mark.usefixtures("torch_on_one_thread")


def test_outputs_hold_what_the_model_finds_likely(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_run()
    shutil.copytree(model_folder, paths.MODEL)
    evaluate.run(make_params(evaluate={"max_new_tokens": 2, "num_resamples": 5, "controls": []}), NoLog())
    predictions = pq.read_table(evaluate.PREDICTIONS)
    assert predictions.schema.equals(prediction_schema())
    likelihoods = dict(zip(predictions["id"].to_pylist(), predictions["yes_no_log_probs"].to_pylist(), strict=True))
    closed = [row_id for row_id, found in likelihoods.items() if found is not None]
    assert {"open_vqa/9-Is", "open_text/1"} <= set(closed) and "open_vqa/9-Wh" not in closed
    metrics = json.loads(evaluate.METRICS.read_text(encoding="utf-8"))
    assert metrics["calibration"]["num_rows"] == len(closed) == 4 + 4 + 3
    assert metrics["zero_shot"] == {}, "no benchmark is named in transfer.benchmarks"
    assert pq.read_table(evaluate.ZERO_SHOT).schema.equals(zero_shot.SCHEMA)
