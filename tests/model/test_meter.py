from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from peft import PeftModel

from openmedq.training import meter, trainer
from openmedq.training.checkpoint import Checkpoints
from tests.recorded import Recorded

from . import tiny


def test_validations_and_checkpoints_are_no_part_of_the_speed(
    model: PeftModel, processor: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An update takes 4 s of a clock of its own, a wait for data 1 s, all else more."""
    monkeypatch.chdir(tmp_path)
    now = 0.0

    def delay(where: Any, name: str, seconds: float) -> None:
        original = getattr(where, name)

        def delayed(*arguments: Any, **options: Any) -> Any:
            nonlocal now
            now += seconds
            return original(*arguments, **options)

        monkeypatch.setattr(where, name, delayed)

    for module in (meter, trainer):
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now))
    delay(trainer.Trainer, "_update", 4)
    delay(trainer.Trainer, "_validate", 100)
    delay(Checkpoints, "save", 1000)
    delay(Checkpoints, "save_best", 1000)
    delay(trainer.EncodedRows, "__getitem__", 1)
    record = Recorded()
    changes = {"num_epochs": 4, "validate_every": 2, "checkpoint_minutes": 1}
    tiny.make_trainer(model, processor, tmp_path / "checkpoints", record, **changes).train()
    assert len(record.checkpoints) > 4
    assert record.read("samples_per_second") == [pytest.approx(4 / 5)] * 6
    assert record.read("data_wait_s") == [pytest.approx(1)] * 6
