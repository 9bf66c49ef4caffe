"""The pages and scripts of docs/ are right about commands and settings, and the Slurm script does what it says."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from openmedq import cli
from openmedq.config import Params
from openmedq.stages import STAGES
from tests.curate.corpus import make_params

DOCS = Path(__file__).parents[1] / "docs"
SCRIPT = DOCS / "slurm.sh"
TEXTS = {path.name: path.read_text(encoding="utf-8") for path in sorted(DOCS.iterdir())}


def find(pattern: str) -> set[str]:
    return {found for text in TEXTS.values() for found in re.findall(pattern, text)}


def test_every_named_stage_and_setting_exists() -> None:
    commands = find(r"-m openmedq ([\w-]+)")
    (known,) = (action.choices for action in cli._parser()._subparsers._group_actions)  # type: ignore[union-attr]
    assert commands and commands <= set(known or ())
    settings = find(r"`((?:train|execution|evaluate)\.\w+)\b")
    assert settings
    for name in settings:
        section, _, key = name.partition(".")
        assert key in Params.model_fields[section].annotation.model_fields, name  # type: ignore[union-attr]


def test_every_declaration_of_own_data_is_valid() -> None:
    blocks = re.findall(r"^```yaml\n(local:.*?)^```$", TEXTS["own-data.md"], re.MULTILINE | re.DOTALL)
    assert len(blocks) > 2
    for block in blocks:
        assert make_params(**yaml.safe_load(block)).local


def test_every_named_file_exists() -> None:
    for name in find(r"\b(docs/[\w./-]+\w)"):
        assert (DOCS.parent / name).exists(), name


@pytest.mark.parametrize("command", sorted(find(r"\bdvc (?:commit|repro)[\w -]*")))
def test_dvc_has_the_command(command: str) -> None:
    from dvc.cli.parser import get_main_parser

    targets = get_main_parser().parse_args(command.split()[1:]).targets
    assert set(targets) <= set(STAGES)


def test_torchrun_has_the_options() -> None:
    from torch.distributed.run import get_args_parser

    (line,) = re.findall(r"\ntorchrun (.*)\n", TEXTS["several-gpus.md"])
    parsed = get_args_parser().parse_args(line.split())
    assert (parsed.module, parsed.training_script, parsed.training_script_args) == (True, "openmedq", ["train"])


def test_the_script_has_no_syntax_error() -> None:
    done = subprocess.run(["bash", "-n", SCRIPT], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("status", "then"),
    [(0, ["dvc commit --force train"]), (1, []), (143, ["scontrol requeue 7"])],
    ids=["complete", "failed", "stopped"],
)
def test_the_script_starts_the_processes_and_then_queues_the_job_again_or_not(
    status: int, then: list[str], tmp_path: Path
) -> None:
    programs = {
        "scontrol": 'if [ "$1" = show ]; then printf "node1\\nnode2\\n"; else echo "scontrol $*" >> "$CALLS"; fi',
        "srun": f'shift; SLURM_PROCID=3 SLURM_LOCALID=1 "$@"; exit {status}',
        "python": 'echo "$RANK $LOCAL_RANK $WORLD_SIZE $MASTER_ADDR $MASTER_PORT $*" >> "$CALLS"',
        "dvc": 'echo "dvc $*" >> "$CALLS"',
    }
    folder = tmp_path / ".venv" / "bin"
    folder.mkdir(parents=True)
    for name, body in programs.items():
        (folder / name).write_text(f"#!/bin/bash\n{body}\n", encoding="utf-8")
        (folder / name).chmod(0o755)
    environment: dict[str, Any] = {
        "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}",
        "CALLS": str(tmp_path / "calls"),
        "SLURM_JOB_ID": "7",
        "SLURM_JOB_NODELIST": "node[1-2]",
        "SLURM_NTASKS": "4",
    }
    done = subprocess.run(["bash", SCRIPT], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (status, "")
    calls = (tmp_path / "calls").read_text(encoding="utf-8").splitlines()
    assert calls == ["3 1 4 node1 20007 -m openmedq train", *then]
