"""The command line in a project without outputs: errors are one line, and nothing is written."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import PIL.Image
import pytest
import torch

from openmedq.cli import main
from openmedq.stages import STAGES

ROOT = Path(__file__).parents[1]
LOCALE_C = {"LC_ALL": "C", "PYTHONUTF8": "0"}


@pytest.fixture(autouse=True)
def _fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    for name in ("params.yaml", "dvc.lock", "data/catalogue.yaml", "data/forgotten.yaml"):
        shutil.copy(ROOT / name, name)


@pytest.mark.parametrize("stage", [name for name, stage in STAGES.items() if not stage.is_per_dataset])
def test_a_stage_without_its_inputs_names_the_missing_file(stage: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([stage, *(["ours"] if STAGES[stage].is_per_encoder else [])]) == 1
    out, error = capsys.readouterr()
    assert error.startswith("error: data/") and error.count("\n") == 1 and "`dvc repro" in error
    assert not out and not Path("mlflow.db").exists(), "a stage that can't start has no run"
    assert sorted(path.name for path in Path("data").iterdir() if path.name != ".partial") == [
        "catalogue.yaml",
        "forgotten.yaml",
    ]


def test_a_wrong_argument_is_an_error_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, start in (
        (["docter"], "error: argument COMMAND: invalid choice: 'docter'"),
        (["score", "answers.csv"], "error: the following arguments are required: --dataset; see `"),
        (["score", "a", "--dataset", "slake", "--resamples", "0"], "error: argument --resamples: '0' is not a number"),
        (["compare", "a", "b", "--resamples", "-1"], "error: argument --resamples: "),
    ):
        with pytest.raises(SystemExit, match="2"):
            main(arguments)
        error = capsys.readouterr().err
        assert error.startswith(start) and error.count("\n") == 1 and error.endswith(" --help`\n")


@pytest.mark.parametrize("kind", ["Python", "GPU", "CPU"])
def test_a_lack_of_memory_names_the_setting(
    kind: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*arguments: object) -> None:
        if kind == "GPU":
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nGPU 0 has ...")
        if kind == "CPU":
            torch.empty(2**60, dtype=torch.uint8)
        raise MemoryError

    monkeypatch.setattr("openmedq.fetch.manifest.run", run)
    assert main(["manifest"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: memory ran out (") and error.count("\n") == 1
    assert error.endswith("; lower execution.workers in params.yaml\n")


def test_a_model_that_is_older_than_an_exclusion_is_not_exported(capsys: pytest.CaptureFixture[str]) -> None:
    Path("data/mix").mkdir()
    Path("data/model").mkdir()
    tree = {"policy": "any", "sources": {}, "base_weights": {}}
    Path("data/model/training_data.json").write_text(json.dumps(tree), encoding="utf-8")
    assert main(["export", "before"]) == 0  # of another mix, but nothing is excluded
    forgotten = Path("data/forgotten.yaml")
    forgotten.write_text(forgotten.read_text().replace("slake: []", "slake: [0123]"))
    assert main(["export", "after"]) == 1
    assert "data/model: trained on another data/mix" in capsys.readouterr().err

    Path("data/samples/slake").mkdir(parents=True)
    Path("data/mix/waterfall.json").write_text(json.dumps({"slake": {"read": 128}}), encoding="utf-8")
    counts = {"state": "present", "origin": None, "found": 9, "read": 127, "rejected": {}, "splits": {}}
    Path("data/samples/slake/counts.json").write_text(json.dumps(counts | {"num_images": 0}), encoding="utf-8")
    for command in (["export", "after"], ["export-mix", "mix", "--format", "llava"]):
        assert main(command) == 1
        assert "error: data/mix: is older than the rows of slake; `dvc repro mix`" in capsys.readouterr().err
    assert not Path("after").exists() and not Path("mix").exists()


@pytest.mark.parametrize(
    ("command", "locale"),
    [
        (["check", "vqa_rad", "--raw", "µ"], LOCALE_C),
        (["check", "vqa_rad", "--raw", "µ"], {"LC_ALL": "C.UTF-8", "PYTHONIOENCODING": "ascii"}),
        (["check", "vqa_rad", "--raw", "é"], LOCALE_C),
    ],
)
def test_a_terminal_that_is_not_utf_8(command: list[str], locale: dict[str, str]) -> None:
    """Characters that the terminal lacks are escaped, and files with such names are found."""
    images = Path("µ", "VQA_RAD Image Folder")
    images.mkdir(parents=True)
    PIL.Image.new("L", (16, 16)).save(images / "synpicé.png")
    record = {
        "qid": "1",
        "image_name": "synpicé.png",
        "question": "Ménière?",
        "answer": "5 µm",
        "phrase_type": "freeform",
    }
    record |= {"question_type": "SIZE", "answer_type": "OPEN", "image_organ": "HEAD"}
    Path("µ", "VQA_RAD Dataset Public.json").write_text(json.dumps([record]), encoding="utf-8")

    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "PYTHONCOERCECLOCALE": "0", **locale}
    done = subprocess.run([sys.executable, "-m", "openmedq", *command], env=environment, capture_output=True)
    assert b"Traceback" not in done.stderr and done.stdout.isascii()
    if command[-1] == "é":
        assert (done.returncode, done.stderr.count(b"\n")) == (1, 1) and done.stderr.isascii()
        return
    assert done.returncode == 0
    assert b"A: 5 \\xb5m" in done.stdout and b"rejected" not in done.stdout
