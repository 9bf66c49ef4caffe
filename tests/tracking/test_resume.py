import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from openmedq import config, paths
from openmedq.config.render import render
from openmedq.errors import ModelError
from openmedq.tracking import logger, runs, store
from tests.tracking.conftest import read_runs
from tests.tracking.test_runs import Settings

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _in_store(empty_store: Path) -> None:
    Path("dvc.lock").write_text('stages: {mix: {outs: [{path: data/mix, md5: "1.dir"}]}}\n')


def leave_checkpoint() -> None:
    (paths.CHECKPOINTS / "step-3").mkdir(parents=True, exist_ok=True)


def fail(settings=None, error: BaseException | None = None, last_step: int = 5):
    with (
        pytest.raises((ModelError, SystemExit, KeyboardInterrupt)),
        runs.open_run("train", (), settings or Settings()) as log,
    ):
        for step in range(1, last_step + 1):
            log({"loss": float(step)}, step)
        raise error or ModelError("update 6: the loss is nan")


def resume(settings=None, first_step: int = 4):
    with runs.open_run("train", (), settings or Settings()) as log:
        for step in range(first_step, 9):
            log({"loss": float(step)}, step)


def test_a_second_sigterm_does_not_leave_the_run_open(monkeypatch: pytest.MonkeyPatch) -> None:
    """`die_with_dvc` sends one half a second after that of the process group."""
    end = MlflowClient.set_terminated

    def end_after_sigterm(*arguments: Any, **options: Any) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        end(*arguments, **options)

    monkeypatch.setattr(MlflowClient, "set_terminated", end_after_sigterm)
    fail(error=SystemExit(143))
    (run,) = read_runs()
    assert run.info.status == "KILLED"


@pytest.mark.parametrize(
    ("error", "status", "reason"),
    [
        (ModelError("update 6: nan; see /home/alice/log"), "FAILED", "update 6: nan; see …/log"),
        (KeyboardInterrupt(), "KILLED", "the process was asked to stop"),
    ],
)
def test_why_a_training_ended_is_a_tag_until_it_is_finished(error: BaseException, status: str, reason: str) -> None:
    leave_checkpoint()
    fail(Settings(train={"lr": 0.5, "micro_batch_size": 16}), error)
    (run,) = read_runs()
    assert (run.info.status, run.data.tags["stage.train.reason"]) == (status, reason)
    resume(Settings(train={"lr": 0.5, "micro_batch_size": 8}))
    (run,) = read_runs()
    assert run.info.status == "FINISHED" and "stage.train.reason" not in run.data.tags
    client, _ = store.connect()
    steps = [metric.step for metric in client.get_metric_history(run.info.run_id, "train/loss")]
    assert steps == list(range(1, 9)), "updates 4 and 5 were computed twice"


@pytest.mark.parametrize("change", ["settings", "data", "no checkpoint", "a copy of the project"])
def test_another_training_has_a_run_of_its_own(change: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if change != "no checkpoint":
        leave_checkpoint()
    fail()
    if change == "data":
        Path("dvc.lock").write_text('stages: {mix: {outs: [{path: data/mix, md5: "2.dir"}]}}\n')
    if change == "a copy of the project":
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{Path('mlflow.db').absolute()}")
        monkeypatch.chdir(shutil.copytree(Path.cwd(), Path.cwd().with_name("copy")))
    resume(Settings(train={"lr": 0.5}) if change == "settings" else None)
    assert [run.info.status for run in read_runs()] == ["FAILED", "FINISHED"]


def test_a_training_that_starts_anew_leaves_the_run_as_it_was() -> None:
    leave_checkpoint()  # of other weights, which the training sees and this package does not
    fail()
    resume(first_step=1)
    first, second = read_runs()
    assert (first.info.status, second.info.status) == ("FAILED", "FINISHED")
    assert first.data.tags["stage.train.reason"] == "update 6: the loss is nan" and "resumed" not in first.data.tags
    client, _ = store.connect()
    steps = [metric.step for metric in client.get_metric_history(second.info.run_id, "train/loss")]
    assert steps == list(range(1, 9))
    assert not list((paths.PARTIAL / "runs").iterdir())


def test_a_run_is_called_by_profile_date_and_id() -> None:
    params = config.profile(paths.CONF, "small")
    mirror = params.download.model_copy(update={"mirror": "/data"})
    for settings, profile in (
        (params, "small"),
        (params.model_copy(update={"download": mirror}), "small"),
        (Settings(), "custom"),
    ):
        with runs.open_run("train", (), settings):
            pass
        run = read_runs()[-1]
        name, date, short = run.info.run_name.split()
        assert (name, run.data.tags["profile"]) == (profile, profile) and run.info.run_id.startswith(short)
        assert len(date) == 10 and date[4] == date[7] == "-"
    changed = params.model_copy(update={"train": params.train.model_copy(update={"seed": 7})})
    assert render(changed) != render(params) and runs._find_profile(changed) == "custom"


def test_a_run_has_at_most_60_metrics_and_says_so(logged) -> None:
    with runs.open_run("train", (), Settings()) as log:
        log({f"loss_of/set{number:02}": 1.0 for number in range(70)}, 1)
        log({"loss_of/set01": 1.0, "loss_of/set69": 1.0}, 2)
    (run,) = read_runs()
    assert len(run.data.metrics) == logger.MAX_METRICS == 60
    assert logged() == "a run has at most 60 metrics: train/loss_of/set60 and further ones are not logged\n"


def test_system_metrics_name_no_machine_and_count_no_gpu_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logger, "SYSTEM_S", 0.0)
    with runs.open_run("train", (), Settings()) as log:
        log._system._monitors.append(TwoGpus())
        log({"loss": 1.0}, 7)
    (run,) = read_runs()
    of_system = {name: value for name, value in run.data.metrics.items() if name.startswith("system/")}
    assert set(of_system) == {
        "system/cpu_utilization_percentage",
        "system/system_memory_usage_percentage",
        "system/gpu_utilization_percentage",
    }
    assert of_system["system/gpu_utilization_percentage"] == 75
    client, _ = store.connect()
    (metric,) = client.get_metric_history(run.info.run_id, "system/gpu_utilization_percentage")
    assert metric.step == 7, "the same axis as the loss"


class TwoGpus:
    def collect_metrics(self) -> None:
        pass

    clear_metrics = collect_metrics

    def aggregate_metrics(self) -> dict[str, float]:
        return {"gpu_0_utilization_percentage": 50, "gpu_1_utilization_percentage": 100, "gpu_0_power_usage_watts": 9}
