"""The pages and scripts of docs/ are right about commands and settings, and the Slurm script does what it says."""

import argparse
import json
import os
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import PIL.Image
import pytest
import yaml

from openmedq import cli
from openmedq.cli import make_parser
from openmedq.config import Params
from openmedq.stages import STAGES
from tests.curate.corpus import make_params

DOCS = Path(__file__).parents[1] / "docs"
SCRIPT = DOCS / "how-to" / "slurm.sh"
PAGES = [DOCS.parent / "README.md", DOCS.parent / "CONTRIBUTING.md", SCRIPT, *sorted(DOCS.rglob("*.md"))]
TEXTS = {path.name: path.read_text(encoding="utf-8") for path in PAGES}


def find(pattern: str) -> set[str]:
    return {found for text in TEXTS.values() for found in re.findall(pattern, text)}


def test_every_named_command_and_setting_exists() -> None:
    (chosen,) = (each for each in make_parser("openmedq")._actions if isinstance(each, argparse._SubParsersAction))
    commands = find(r"-m openmedq ([a-z-]+)")
    assert commands and commands <= set(chosen.choices)
    settings = find(rf"`((?:{'|'.join(set(STAGES) & set(Params.model_fields))}|execution|policy)\.\w+)\b")
    assert settings
    for name in settings:
        section, _, key = name.partition(".")
        assert key in Params.model_fields[section].annotation.model_fields, name


def test_every_declaration_of_own_data_is_valid() -> None:
    blocks = re.findall(r"^```yaml\n(local:.*?)^```$", TEXTS["own-data.md"], re.MULTILINE | re.DOTALL)
    assert len(blocks) > 2
    for block in blocks:
        assert make_params(**yaml.safe_load(block)).local


def test_every_named_file_exists() -> None:
    for name in find(r"(?<![\w/])(docs/[\w./-]+\w)"):
        assert (DOCS.parent / name).exists(), name


def test_the_generated_pages_are_up_to_date() -> None:
    module = runpy.run_path(str(DOCS / "generate.py"))
    for name, text in module["make_pages"]().items():
        assert (DOCS / "reference" / name).read_text(encoding="utf-8") == text, "run `make docs`"


def test_the_pages_build_without_a_broken_link(tmp_path: Path) -> None:
    shutil.copytree(DOCS, tmp_path / "docs")
    for name in ("data/README.md", "mkdocs.yml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(DOCS.parent / name, tmp_path / name)
    command = [sys.executable, "-m", "zensical", "build", "--strict"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert 'src="http' not in (tmp_path / "site" / "index.html").read_text(encoding="utf-8")


def test_the_readme_is_short() -> None:
    assert len(TEXTS["README.md"].splitlines()) <= 130


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


def test_the_tutorials_own_data_are_checked_and_normalized(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    table, declaration, commands = (
        re.findall(rf"^```{kind}\n({start}.*?)^```$", TEXTS["tutorial.md"], re.MULTILINE | re.DOTALL)[0]
        for kind, start in (("", "file,"), ("yaml", "local:"), ("bash", "python -m openmedq catalogue"))
    )
    Path("clinic").mkdir()
    for number in range(1, 21):
        PIL.Image.new("L", (64, 64), 10 * number).save(f"clinic/scan-{number:02}.png")
    row = table.splitlines()[1]
    rows = [row.replace("scan-01", f"scan-{n:02}").replace("p1", f"p{n}") for n in range(1, 21)]
    rows += [row.replace("scan-01", "scan-99")]
    Path("clinic/questions.csv").write_text("\n".join([table.splitlines()[0], *rows]), encoding="utf-8")
    Path("data/miniature").mkdir(parents=True)  # by `make run`
    shutil.copy(DOCS.parent / "data" / "copies.csv", "data")
    assert cli.main(["profile", "miniature"]) == 0
    text = Path("params.yaml").read_text(encoding="utf-8")
    assert "\nlocal: {}" in text
    Path("params.yaml").write_text(re.sub(r"\nlocal: \{\}.*", f"\n{declaration}", text), encoding="utf-8")
    for command in commands.splitlines():
        if command.startswith("python -m openmedq "):
            assert cli.main(command.split()[3:]) == 0, command
    assert re.search(r"20 .*\n(.*\n)*.*image missing", capsys.readouterr().out)
    for command in ("manifest", "download clinic", "normalize clinic"):
        assert cli.main(command.split()) == 0
    counts = json.loads(Path("data/samples/clinic/counts.json").read_text(encoding="utf-8"))
    assert (counts["read"], counts["rejected"]) == (20, {"image missing": 1})
