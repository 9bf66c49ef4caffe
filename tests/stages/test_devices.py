"""Two processes train and evaluate as one does, sharded or not; faults of one of them end all."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

from openmedq import config, paths
from openmedq.config.render import render
from openmedq.evaluation import evaluate
from openmedq.model import model as models
from openmedq.storage.progress import NoLog
from openmedq.training import train
from tests.processes import find_port, find_stages, wait
from tests.stages.results import write_run
from tests.stages.test_train import params

pytestmark = [pytest.mark.usefixtures("torch_on_one_thread"), pytest.mark.xdist_group("devices")]  # one launch

ROOT = Path(__file__).parents[2]
WAYS = ("ddp", "fsdp")
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m")
IN_PARTS = {"batch_size": 14, "micro_batch_size": 1, "max_tokens": 64}  # one image or two texts; a row has 33 to 48
CASES: dict[str, dict[str, Any]] = {
    "phases": IN_PARTS | {"align_steps": 2, "blank_share": 0.3, "validate_every": 2},
    "text beside images": {"batch_size": 2, "micro_batch_size": 1, "max_steps": 8, "seed": 2},
    "contrastive": {"contrastive_weight": 1.0, "next_token_weight": 0.0},
    "contrastive in parts": IN_PARTS | {"contrastive_weight": 0.5, "precision": "bf16", "max_steps": 2},
}
EQUAL = ("phases", "text beside images", "contrastive")  # to what one process computes
# lr is small: where a gradient is zero but for rounding, AdamW makes of it a step of full length.
COMMON = {"lr": 1e-4, "max_steps": 4}


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def write_params(folder: Path, way: str, changes: dict[str, Any], is_evaluated: bool = False) -> Path:
    tree = params(**COMMON | changes).model_dump(mode="json", by_alias=True)
    tree["execution"] |= {"sharding": way, "devices": 2}
    tree["evaluate"] |= {"max_new_tokens": 4, "num_resamples": 20, "batch_size": 1 if is_evaluated else 32}
    (folder / paths.PARAMS).write_text(render(config.parse(tree, paths.PARAMS)), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A project with three validation rows, whose copies are trained in."""
    folder = tmp_path_factory.mktemp("project")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        write_run(mix={"roles": {"open_vqa": {"test": "validation"}}})
        index = pq.read_table(train.INDEX)
        is_validation = pc.equal(index["role"], "validation").to_numpy()
        is_first = pa.array(~is_validation | (is_validation.cumsum() <= 3))
        is_open = pc.or_(pc.not_equal(index["role"], "train"), pc.not_equal(index["source"], "secret_vqa"))
        pq.write_table(index.filter(pc.and_(is_first, is_open)), train.INDEX)
    yield folder


def copy(project: Path, name: str) -> Path:
    return Path(shutil.copytree(project, project.parent / name.replace(" ", "-")))


@pytest.fixture(scope="module")
def trained(project: Path) -> dict[tuple[str, str], Path]:
    """The folders of all cases, trained by the same two processes."""
    folders = {}
    for way in WAYS:
        for name, changes in CASES.items():
            folders[name, way] = write_params(copy(project, f"{name} {way}"), way, changes)
        again = copy(project, f"again {way}")
        folders["again", way] = write_params(again, way, CASES["phases"], is_evaluated=way == "ddp")
    command = [sys.executable, "-m", "tests.stages.several", *map(str, folders.values())]
    place = {"WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": str(find_port())}
    done = subprocess.run(command, env=environment() | place, cwd=ROOT, capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stderr[-3000:]
    return folders


@pytest.fixture(scope="module")
def alone(project: Path) -> dict[str, Path]:
    """The same, trained by one process."""
    folders = {}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    for name in EQUAL:
        folders[name] = write_params(copy(project, name), "ddp", CASES[name])
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folders[name])
            train.run(config.load(paths.PARAMS), NoLog())
    torch.set_num_threads(threads)
    return folders


def read_losses(folder: Path) -> list[float]:
    lines = (folder / train.LOSSES).read_text(encoding="utf-8").splitlines()[1:]
    return [float(value) for line in lines for value in line.split(",")[1:] if value]


def read_weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / paths.MODEL / "model.safetensors")


def read_seen(folder: Path) -> list[dict[str, Any]]:
    seen: list[dict[str, Any]] = json.loads((folder / "seen.json").read_text(encoding="utf-8"))
    return seen


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", EQUAL)
def test_two_processes_train_as_one_does(
    name: str, way: str, trained: dict[tuple[str, str], Path], alone: dict[str, Path]
) -> None:
    folder = trained[name, way]
    assert read_losses(folder) == pytest.approx(read_losses(alone[name]), rel=1e-5)
    expected = read_weights(alone[name])
    for key, weight in read_weights(folder).items():
        torch.testing.assert_close(weight, expected[key], atol=1e-5, rtol=0, msg=lambda text, key=key: f"{key}: {text}")
    models.load(folder / paths.MODEL)
    counted, counts = (json.loads((each / train.METRICS).read_text()) for each in (folder, alone[name]))
    assert counted == pytest.approx(counts, rel=1e-5)


@pytest.mark.slow
def test_the_cases_are_what_they_are_called(trained: dict[tuple[str, str], Path]) -> None:
    for way in WAYS:
        for name in ("phases", "contrastive in parts"):
            first, second = read_seen(trained[name, way])
            assert any(one != two > 0 for one, two in zip(first["micros"], second["micros"], strict=True))
        first, second = read_seen(trained["text beside images", way])
        assert 0 in second["micros"], "three validation rows, two at a time"
        assert any(bool(one) != bool(two) for one, two in zip(first["images"], second["images"], strict=True))
        assert any(one == two == 0 for one, two in zip(first["images"], second["images"], strict=True))


@pytest.mark.slow
def test_sharding_divides_every_tensor(trained: dict[tuple[str, str], Path]) -> None:
    for each in read_seen(trained["phases", "fsdp"]):
        assert each["num_sharded"] == each["num_tensors"] and 0.45 < each["share"] < 0.55
    for each in read_seen(trained["phases", "ddp"]):
        assert each["num_sharded"] == 0 and each["share"] == 1


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_equal_devices_give_equal_bytes(way: str, trained: dict[tuple[str, str], Path]) -> None:
    for path in (paths.MODEL / "model.safetensors", train.LOSSES, train.METRICS):
        assert (trained["phases", way] / path).read_bytes() == (trained["again", way] / path).read_bytes()
    tree = json.loads((trained["phases", way] / paths.MODEL / "training_data.json").read_text(encoding="utf-8"))
    assert (tree["num_devices"], tree["micro_batch_size"]) == (2, 1)


@pytest.mark.slow
def test_one_process_trains_the_tokenizer_and_all_start_with_the_same_weights(
    trained: dict[tuple[str, str], Path],
) -> None:
    for folder in trained.values():
        first, second = read_seen(folder)
        assert (first["num_tokenizers"], second["num_tokenizers"]) == (1, 0)
        assert first["weights"] == second["weights"]


@pytest.mark.slow
def test_two_processes_answer_as_one_does(
    trained: dict[tuple[str, str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(trained["again", "ddp"])
    files = (evaluate.PREDICTIONS, evaluate.CONTROLS, evaluate.METRICS)
    before = [path.read_bytes() for path in files]
    assert len(pq.read_table(evaluate.PREDICTIONS)) == 11, "two windows, one for each process"
    evaluate.run(config.load(paths.PARAMS), NoLog())
    assert [path.read_bytes() for path in files] == before


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_bf16_trains_on_two_devices(way: str, trained: dict[tuple[str, str], Path]) -> None:
    folder = trained["contrastive in parts", way]
    assert {weight.dtype for weight in read_weights(folder).values()} == {torch.bfloat16}


def start(folder: Path, *command: str, **more: str) -> subprocess.Popen[str]:
    environ = environment() | more
    return subprocess.Popen(
        [sys.executable, *command], env=environ, cwd=folder, stdout=-1, stderr=subprocess.PIPE, text=True
    )


def read_errors(process: subprocess.Popen[str]) -> list[str]:
    _, errors = process.communicate(timeout=120)
    return errors.splitlines()


SPOIL = """
import os
if os.environ.get("RANK") in (("0", "1") if os.environ["FAULT"] == "wrong" else ("1",)):
    from openmedq.errors import ModelError
    from openmedq.training.trainer import Trainer

    def update(self, *rest):
        if os.environ["FAULT"] == "killed":
            os.kill(os.getpid(), 9)
        raise ModelError("update 1: wrong")

    Trainer._update = update
"""


def write_project(project: Path, name: str, **changes: Any) -> Path:
    folder = write_params(copy(project, name), "ddp", changes)
    (folder / paths.VALIDATION).mkdir(exist_ok=True)
    (folder / paths.VALIDATION / "verdict.json").write_text("{}", encoding="utf-8")
    return folder


@pytest.mark.faults
@pytest.mark.parametrize(
    ("fault", "line", "status"),
    [("wrong", "error: update 1: wrong", 1), ("killed", "error: train: process 1 was ended by SIGKILL", 137)],
)
def test_a_process_that_fails_ends_the_others(project: Path, fault: str, line: str, status: int) -> None:
    folder = write_project(project, fault)
    (folder / "sitecustomize.py").write_text(SPOIL, encoding="utf-8")
    process = start(folder, "-m", "openmedq", "train", FAULT=fault, PYTHONPATH=f"{ROOT}{os.pathsep}{folder}")
    (error,) = read_errors(process)
    assert error.startswith(line) and process.returncode == status
    assert not find_stages("train", folder)


@pytest.mark.faults
def test_sigterm_at_the_start_ends_all_processes(project: Path) -> None:
    folder = write_project(project, "at the start", max_steps=10**6, num_epochs=10**6)
    process = start(folder, "-m", "openmedq", "train")
    try:
        wait(lambda: len(find_stages("train", folder)) == 3, "two processes and their launcher")
    except AssertionError:
        process.kill()  # its processes end with it
        raise
    process.send_signal(signal.SIGTERM)
    assert not [line for line in read_errors(process) if not line.startswith("INFO")]
    assert process.returncode == 143 and not find_stages("train", folder)


@pytest.mark.faults
def test_torchrun_and_processes_with_its_environment_work_too(project: Path) -> None:
    folder = write_project(project, "torchrun")
    run = start(folder, *TORCHRUN, "openmedq", "train")
    read_errors(run)
    assert run.returncode == 0
    weights = (folder / paths.MODEL / "model.safetensors").read_bytes()
    shutil.rmtree(folder / paths.MODEL)
    place = {"WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": str(find_port())}
    members = [start(folder, "-m", "openmedq", "train", RANK=rank, LOCAL_RANK=rank, **place) for rank in ("0", "1")]
    for member in members:
        read_errors(member)
        assert member.returncode == 0
    assert (folder / paths.MODEL / "model.safetensors").read_bytes() == weights
