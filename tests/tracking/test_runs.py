import getpass
import json
import shutil
import socket
import sqlite3
import subprocess
from collections import Counter
from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel

from openmedq import paths
from openmedq.stages import STAGES
from openmedq.tracking import models, runs, store
from tests.conftest import run as run_command
from tests.connections import guard, read_attempts
from tests.tracking.conftest import enter, read_runs


class Settings(BaseModel):
    """Takes the place of Params: the package logs any tree of settings."""

    download: dict = {"mirror": "/home/alice/mirror", "require": []}
    train: dict = {"lr": 0.001, "vision": {"encoder": "scratch", "weights": "https://bob:hunter2@host/vit"}}
    mix: dict = {"roles": {"apple": {"test": "evaluation"}}, "weights": {f"set{n}": 1.0 for n in range(150)}}


@pytest.fixture(scope="module")
def _built(tmp_path_factory, request):
    """The toy project, reproduced up to its report."""
    root = Path(shutil.copytree(request.getfixturevalue("_toy_template"), tmp_path_factory.mktemp("built") / "toy"))
    done = run_command(["python", "-m", "dvc", "repro", "-q", "report"], root)
    assert done.returncode == 0, done.stderr
    return root


@pytest.fixture
def project(_built, _new_store, tmp_path, monkeypatch):
    root = Path(shutil.copytree(_built, tmp_path / "project"))
    enter(root, _new_store, monkeypatch)
    return root


def train(num_steps=3):
    with runs.open_run("train", STAGES["train"].artifacts, Settings()) as log:
        for step in range(num_steps):
            log({"loss": 1.0 / (step + 1)}, step)
    return str(read_runs()[-1].info.run_id)


def outs(stage):
    lock = yaml.safe_load(Path("dvc.lock").read_text())
    return {out["path"]: out["md5"] for out in lock["stages"][stage]["outs"]}


def test_a_training_is_one_run_with_its_params_metrics_and_md5s(project):
    run_id = train(num_steps=2500)
    (run,) = read_runs()
    assert run.info.run_id == run_id and run.info.status == "FINISHED"
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True).stdout.strip()
    assert run.data.tags["git.commit"] == commit and run.data.tags["git.dirty"] == "false"
    assert run.data.tags["md5.mix"] == outs("mix")["data/mix"]
    assert run.data.tags["md5.validation"] == outs("validate")["data/validation"]
    assert run.data.tags["md5.model"] == outs("train")["data/model"], "DVC's own md5 of the folder"
    assert run.data.params["train.lr"] == "0.001"
    assert run.data.params["train.vision.encoder"] == "scratch"
    assert len([name for name in run.data.params if name.startswith("mix.weights.")]) == 150

    client, _ = store.connect()
    history = client.get_metric_history(run_id, "train/loss")
    assert [metric.step for metric in history] == list(range(2500))
    assert history[1].value == 0.5


def test_each_dataset_of_the_mix_is_an_input_with_dvcs_md5(project):
    train()
    (run,) = read_runs()
    inputs = {given.dataset.name: given for given in run.inputs.dataset_inputs}
    assert set(inputs) == {"apple", "cherry", "plum"}
    for set_id, given in inputs.items():
        assert given.dataset.digest == outs(f"normalize@{set_id}")[f"data/samples/{set_id}"]
    text = run.data.tags["mlflow.note.content"]
    assert text.startswith("Trained on ") and "\n| apple | 2 | 0 |" in text
    tags = {tag.key: tag.value for tag in inputs["apple"].tags}
    assert tags == {"mlflow.data.context": "training", "num_train_rows": "2", "num_evaluation_rows": "1"}
    assert {tag.key: tag.value for tag in inputs["plum"].tags}["mlflow.data.context"] == "evaluation"


def test_lineage_leads_to_url_and_sha256(project):
    run_id = train()
    client, _ = store.connect()
    traced = json.loads(Path(client.download_artifacts(run_id, "lineage.json")).read_text())
    assert traced["mix"] == client.get_run(run_id).data.tags["md5.mix"]
    cherry = traced["sets"]["cherry"]
    assert cherry["samples"] == outs("normalize@cherry")["data/samples/cherry"]
    assert cherry["raw"] == outs("download@cherry")["data/raw/cherry"]
    assert cherry["files"] == {"cherry.csv": {"url": "https://example.org/cherry.csv", "sha256": "11"}}


def test_model_and_artifacts_are_logged(project):
    run_id = train()
    for stage in ("evaluate", "transfer", "report"):
        with runs.open_run(stage, STAGES[stage].artifacts, Settings()):
            pass
    client, _ = store.connect()
    folders = ("", "training", "mix", "validation", "evaluation", "transfer/ours", "report")
    found = {item.path for folder in folders for item in client.list_artifacts(run_id, folder) if not item.is_dir}
    assert found == {
        "lineage.json",
        "training/loss.csv",
        "training/metrics.json",
        "mix/waterfall.json",
        "validation/verdict.json",
        "evaluation/metrics.json",
        "transfer/ours/metrics.json",
        "report/index.html",
        "report/report.md",
    }
    (output,) = client.get_run(run_id).outputs.model_outputs
    model = client.get_logged_model(output.model_id)
    assert model.status == "READY"
    assert [item.path for item in client.list_logged_model_artifacts(output.model_id)] == ["config.json"]


def test_large_weights_are_not_logged(project, monkeypatch):
    monkeypatch.setattr(models, "MAX_MODEL_BYTES", 10)
    Path("data/model/model.safetensors").write_bytes(b"w" * 11)
    client, _ = store.connect()
    (output,) = client.get_run(train()).outputs.model_outputs
    assert [item.path for item in client.list_logged_model_artifacts(output.model_id)] == ["config.json"]


def test_later_stages_join_the_run_which_fails_with_any_of_them(project):
    run_id = train()
    with pytest.raises(ZeroDivisionError), runs.open_run("evaluate", STAGES["evaluate"].artifacts, Settings()) as log:
        log({"all/bleu_1": 0.1}, None)
        raise ZeroDivisionError
    with runs.open_run("transfer", STAGES["transfer"].artifacts, Settings()) as log:
        log({"macro_f1": 0.7}, None)
    (run,) = read_runs()
    assert run.info.run_id == run_id and run.info.status == "FAILED"
    with runs.open_run("evaluate", STAGES["evaluate"].artifacts, Settings()) as log:
        log({"all/bleu_1": 0.4}, None)
        log.describe("| source | BLEU-1 |")
    (run,) = read_runs()
    assert run.info.status == "FINISHED" and run.data.tags["mlflow.note.content"] == "| source | BLEU-1 |"
    assert run.data.metrics["evaluate/all/bleu_1"] == 0.4 and run.data.metrics["transfer/macro_f1"] == 0.7


def test_without_a_run_of_the_model_the_later_stages_share_a_new_one(project):
    for stage in ("evaluate", "transfer"):
        with runs.open_run(stage, STAGES[stage].artifacts, Settings()) as log:
            log({"score": 1.0}, None)
    (run,) = read_runs()
    assert run.data.tags["restored"] == "true" and run.data.tags["md5.model"] == outs("train")["data/model"]
    assert set(run.data.metrics) == {"evaluate/score", "transfer/score"}
    assert store.connect()[0].get_registered_model("openmedq").aliases == {}, "no candidate"


def test_a_training_restored_from_dvcs_cache_starts_no_run(project):
    train()
    shutil.rmtree(paths.MODEL)
    Path("dvc.lock").unlink()
    done = run_command(["python", "-m", "dvc", "repro", "train"], project, **guard(project))
    assert "Stage 'train' is cached" in done.stdout
    with runs.open_run("evaluate", (), Settings()) as log:
        log({"score": 1.0}, None)
    (run,) = read_runs()
    assert set(run.data.metrics) == {"train/loss", "evaluate/score"} and "restored" not in run.data.tags
    assert read_attempts(project) == [], "DVC did not use the network"


def test_another_model_is_another_run(project):
    first = train()
    (paths.MODEL / "config.json").write_text('{"width": 2}')
    second = train()
    for model, run_id in (("{}", first), ('{"width": 2}', second)):
        (paths.MODEL / "config.json").write_text(model)
        with runs.open_run("evaluate", (), Settings()) as log:
            log({"score": len(model)}, None)
        assert store.connect()[0].get_run(run_id).data.metrics["evaluate/score"] == len(model)


def test_only_the_main_process_has_a_run(project, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    with runs.open_run("train", STAGES["train"].artifacts, Settings()) as log:
        log({"loss": 1.0}, 0)
    assert read_runs() == []


def test_nothing_private_enters_a_run(project, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter3")
    train()
    with sqlite3.connect("mlflow.db") as database:
        tables = ("tags", "params", "inputs", "input_tags", "datasets", "logged_models", "logged_model_tags")
        tables += ("registered_models", "model_versions", "model_version_tags", "latest_metrics")
        rows = [row for table in tables for row in database.execute(f"select * from {table}")]
        users = {row[0] for row in database.execute("select user_id from runs")}
    database.close()
    text = json.dumps(rows, default=str)
    text += "".join(p.read_text() for p in Path("mlartifacts").rglob("*") if p.is_file())
    counts = Counter({word: text.count(word) for word in ("alice", "hunter2", "hunter3", "bob:", socket.gethostname())})
    counts["project"] = text.replace((project / "mlartifacts").as_uri(), "").count(str(project))  # where a model lies
    assert not +counts
    assert users == {"unknown"} and "mlflow.user" not in text and "mlflow.source" not in text
    assert getpass.getuser() not in {cell for row in rows for cell in row}


def test_dvcs_queued_experiments_use_the_projects_store(project, monkeypatch):
    copy = project / ".dvc/tmp/exps/tmpabc/project"
    copy.mkdir(parents=True)
    monkeypatch.chdir(copy)
    assert store.find_root() == project
