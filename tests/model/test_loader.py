import pickle
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
from peft import PeftModel

from openmedq.storage.progress import NoLog
from openmedq.training.loader import PRELOADED

from ..processes import is_alive, wait
from . import tiny

UNPICKLE = """
import importlib, pickle, sys
for name in sys.argv[2:]:
    importlib.import_module(name)
before = set(sys.modules)
pickle.load(open(sys.argv[1], "rb"))
print(*sorted(set(sys.modules) - before))
"""


def find_workers() -> frozenset[int]:
    """Loader processes, which are started by the fork server, a child of this one."""
    servers = [each for each in psutil.Process().children() if "forkserver" in " ".join(each.cmdline())]
    return frozenset(each.pid for server in servers for each in server.children())


def test_what_a_dataset_imports_is_preloaded(model: PeftModel, processor: Any, tmp_path: Path) -> None:
    path = tmp_path / "dataset.pickle"
    path.write_bytes(pickle.dumps(tiny.make_trainer(model, processor, tmp_path).dataset))
    command = [sys.executable, "-c", UNPICKLE, str(path), *PRELOADED]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert done.stdout.split() == []


def test_loader_processes_live_as_long_as_the_training(model: PeftModel, processor: Any, tmp_path: Path) -> None:
    """Through epochs and validations, and no longer, also if the training fails."""
    seen: list[frozenset[int]] = []

    class Watch(NoLog):
        def __call__(self, metrics: Any, step: int | None) -> None:
            seen.append(find_workers())
            if "lr" in metrics and step == trainer.num_updates:
                raise ZeroDivisionError

    trainer = tiny.make_trainer(model, processor, tmp_path, Watch(), num_epochs=3, validate_every=2)
    trainer.num_workers = 2
    with pytest.raises(ZeroDivisionError) as raised:
        trainer.train()
    assert trainer.history.validation_losses and trainer.num_updates > len(tiny.SAMPLES) // 2
    assert len(seen[0]) == 2
    assert set(seen) == {seen[0]}
    wait(lambda: not any(map(is_alive, seen[0])), "the loader processes end")
    assert raised.tb is not None, "its frames still hold the loader"


def test_a_loader_process_ends_if_the_training_was_killed_before_it_started() -> None:
    code = "import time; from openmedq.storage.processes import be_loader; be_loader(999_999_999, 0); time.sleep(60)"
    done = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], timeout=50)
    assert done.returncode == -signal.SIGKILL
