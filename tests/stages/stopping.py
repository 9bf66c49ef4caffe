"""A hook that kills a training where a test wants it, in any process: of a shell, of torch's launcher, or of DVC."""

import json
import os
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
HOOK = """
import importlib.abc, importlib.util, json, os, signal, sys

WHERE, STOP = os.environ.get("STOP", "never:-1").split(":")
RANK, IDS = os.environ.get("RANK", "0"), os.environ["IDS"]


def kill():
    if WHERE == "term":
        os.kill(os.getppid() if "WORLD_SIZE" in os.environ else os.getpid(), signal.SIGTERM)
    elif WHERE == "group":
        os.killpg(0, signal.SIGTERM)
    else:
        os.kill(os.getpid(), signal.SIGKILL)


def patch(trainer):
    update, train = trainer.Trainer._update, trainer.Trainer.train
    number_of = [-1]

    def log_and_update(self, number, epoch, micros):
        number_of[0] = number
        if WHERE in ("update", "term", "group") and number == int(STOP) and RANK == "0":
            kill()
        with open(IDS, "a") as file:
            rows = [int(row) for micro in micros for row in micro.rows]
            file.write(json.dumps([number, rows]) + "\\n")
        return update(self, number, epoch, micros)

    def train_and_stop(self):
        history = train(self)
        if WHERE == "publish":
            kill()
        return history

    trainer.Trainer._update, trainer.Trainer.train = log_and_update, train_and_stop
    from openmedq.training import checkpoint, objectives

    combine, save, is_first = objectives.combine, checkpoint.digests.save, [True]

    def combine_or_stop(*arguments):
        if WHERE == "micro" and number_of[0] == int(STOP):
            if not is_first[0]:
                kill()
            is_first[0] = False
        return combine(*arguments)

    def save_and_stop(tensors, path):
        save(tensors, path)
        if WHERE == "save" and number_of[0] == int(STOP):
            kill()

    objectives.combine, checkpoint.digests.save = combine_or_stop, save_and_stop


class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name != "openmedq.training.trainer":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        execute = spec.loader.exec_module

        def execute_and_patch(module):
            execute(module)
            patch(module)

        spec.loader.exec_module = execute_and_patch
        return spec


sys.meta_path.insert(0, Finder())
"""


def write_hook(folder: Path) -> None:
    (folder / "hook").mkdir()
    (folder / "hook/sitecustomize.py").write_text(HOOK, encoding="utf-8")


def environment(folder: Path, stop: str = "never:-1") -> dict[str, str]:
    """The environment of a training that ends itself at `stop`: `update:5`, `micro:5`, `save:5`, `publish:0` by
    SIGKILL, `term:5`, `group:5` by SIGTERM. The rows of each update are appended to a file."""
    return {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join((str(folder / "hook"), str(ROOT))),
        "OMP_NUM_THREADS": "1",
        "STOP": stop,
        "IDS": str(folder / "ids.jsonl"),
    }


def read_rows(folder: Path) -> dict[int, list[int]]:
    """The rows of each update that was run last, ascending; of several processes together."""
    runs: dict[int, list[list[int]]] = {}
    for line in (folder / "ids.jsonl").read_text(encoding="utf-8").splitlines():
        number, rows = json.loads(line)
        runs.setdefault(number, []).append(sorted(rows))
    return {number: listed[-1] for number, listed in runs.items()}
