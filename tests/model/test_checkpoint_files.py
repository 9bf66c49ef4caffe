import errno
import logging
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError
from torch import nn

from openmedq.config import Train
from openmedq.errors import DiskFullError, ModelError, StaleError
from openmedq.training import checkpoint, fingerprint
from openmedq.training.trainer import Trainer

from . import tiny
from .bench import FINGERPRINT, NUM_UPDATES, Bench, at_update, bench, flip, undisturbed

__all__ = ["bench", "undisturbed"]

pytestmark = pytest.mark.usefixtures("torch_on_one_thread")


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What was logged at WARNING; the level of INFO depends on what ran before in this process."""
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


def test_a_damaged_checkpoint_is_not_used(bench: Bench, undisturbed: Any, caplog: pytest.LogCaptureFixture) -> None:
    bench.stop(at_update(5))
    assert bench.names() == ["best-00000003", "update-00000004", "update-00000005"]
    (bench.folder / "update-00000005/state.json").write_bytes(b"{")
    caplog.set_level(logging.INFO)
    assert bench.train() == undisturbed()
    newest = bench.folder / "update-00000005"
    older = bench.folder / "update-00000004"
    assert caplog.messages == [
        f"{newest}: the checkpoint is damaged, and is not used",
        f"{older}: resuming after update 4",
    ]


def test_a_checkpoint_that_can_not_be_read_now_is_not_taken_for_damaged(
    bench: Bench, undisturbed: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A shared file system fails, or the file belongs to another user: the next checkpoint would remove this one."""
    bench.stop(at_update(5))

    def fail(path: Path) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch, pytest.raises(StaleError, match=r"update-00000005: can't be read: Input/out"):
        patch.setattr(checkpoint.digests, "check", fail)
        bench.train()
    assert bench.train() == undisturbed() and len(bench.record.read("lr")) == NUM_UPDATES - 5


def test_one_flipped_bit_is_damage_and_without_another_checkpoint_training_starts_anew(
    bench: Bench, undisturbed: Any, caplog: pytest.LogCaptureFixture
) -> None:
    bench.stop(at_update(5))
    for name in bench.names():
        flip(bench.folder / name / "state.safetensors")
    assert bench.train() == undisturbed()
    assert [line.partition(": ")[2] for line in warnings_of(caplog)] == [
        "the checkpoint is damaged, and is not used"
    ] * 2
    assert len(bench.record.read("lr")) == NUM_UPDATES


@pytest.mark.parametrize("size", [0, 1, 1000, 2**24 + 1, 2**24 + 12_290])
def test_the_fingerprint_sees_the_ends_of_a_tensor_of_any_size(size: int) -> None:
    """float32 has no odd numbers above 2^24: places computed in it lie past the end of an embedding of 7B's size."""
    found = []
    for changed in (None, 0, -1)[: 3 if size else 1]:
        layer = nn.Module()
        layer.weight = nn.Parameter(torch.zeros(size, dtype=torch.bfloat16), requires_grad=False)
        if changed is not None:
            layer.weight[changed] = 1
        found.append(list(fingerprint.pick_values(layer)))
    assert len({tuple(each) for each in found}) == min(len(found), 1 + min(size, 2))


def test_a_setting_that_a_newer_version_adds_invalidates_no_checkpoint() -> None:
    class Newer(Train):
        added: int = 3

    tree = tiny.make_settings().model_dump()
    found = [fingerprint.hash_settings(each) for each in (Train(**tree), Newer(**tree), Newer(**tree, added=4))]
    assert found[0] == found[1] != found[2]


@pytest.mark.parametrize(
    ("changes", "is_same"),
    [
        ({"micro_batch_size": 1, "activation_checkpointing": True, "compile": True, "deterministic": False}, True),
        ({"micro_batch_size": 1, "contrastive_weight": 0.5}, False),  # it compares the images of a micro batch
        ({"vision": {"licence": "MIT"}}, True),  # it is stated for an export
        ({"batch_size": 8}, False),
    ],
)
def test_a_training_is_the_same_with_settings_that_change_no_update(changes: dict[str, Any], is_same: bool) -> None:
    before = {name: changes[name] for name in changes if name == "contrastive_weight"}
    hashes = [fingerprint.hash_settings(tiny.make_settings(**each)) for each in (before, changes)]
    assert (hashes[0] == hashes[1]) == is_same


def test_another_training_starts_anew_and_the_old_one_can_be_resumed(
    bench: Bench, undisturbed: Any, caplog: pytest.LogCaptureFixture
) -> None:
    other = {**FINGERPRINT, "data": "2", "settings": "2", "weights": "2"}
    bench.stop(at_update(5))
    bench.stop(at_update(2), fingerprint=other)
    assert warnings_of(caplog) == [
        f"{bench.folder}/update-00000005: of a training with other data, settings, weights; training starts anew, and "
        f"the old checkpoints are kept; undo the change to resume from them, or remove {bench.folder}"
    ]
    caplog.clear()
    for each, num_done in ((FINGERPRINT, 5), (other, 2)):
        assert bench.train(fingerprint=each) == undisturbed()
        assert not warnings_of(caplog) and len(bench.record.read("lr")) == NUM_UPDATES - num_done


def test_what_changes_sums_only_is_a_warning(bench: Bench, undisturbed: Any, caplog: pytest.LogCaptureFixture) -> None:
    bench.stop(at_update(5))
    soft = {"code": "2", "versions": "2", "devices": "2", "micro_batch_size": "2"}
    assert bench.train(fingerprint={**FINGERPRINT, **soft}) == undisturbed()
    saved = f"{bench.folder / 'update-00000005'}: saved with other code, versions, devices, micro_batch_size"
    assert warnings_of(caplog) == [f"{saved}; results can differ by rounding or more"]


def test_nothing_grows(bench: Bench) -> None:
    seen: list[list[str]] = []

    def watch(trainer: Trainer) -> None:
        pause = trainer._pause

        def look(requested: Any) -> None:
            pause(requested)
            if trainer.history.num_steps > 3:
                seen.append(bench.names())

        trainer._pause = look

    bench.train(watch, max_steps=20, num_epochs=20)
    assert len(seen) > 10 and all(len(names) in (3, 4) for names in seen)
    assert all([name[:5] for name in names][-2:] == ["updat"] * 2 for names in seen)
    assert [path.name for path in Path("data/.partial").iterdir()] == [f"data-checkpoints-{bench.folder.name}-new.lock"]


def test_a_full_disk_leaves_the_checkpoint_before(
    bench: Bench, undisturbed: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.stop(at_update(3), validate_every=None)
    before, save_file = bench.names(), checkpoint.digests.save_file

    def write_half(tensors: Any, path: Path, **_: Any) -> None:
        save_file(tensors, path)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    with monkeypatch.context() as patch, pytest.raises(DiskFullError) as raised:
        patch.setattr(checkpoint.digests, "save_file", write_half)
        bench.train(validate_every=None)
    assert str(raised.value).startswith(f"{bench.folder}/new: no space left on the disk of data (")
    assert bench.names() == before
    assert bench.train(validate_every=None) == undisturbed(validate_every=None)


def test_no_checkpoint_has_a_weight_that_is_not_finite(bench: Bench) -> None:
    def spoil(trainer: Trainer) -> None:
        update = trainer._update

        def spoiling(number: int, epoch: int, micros: Any) -> Any:
            found = update(number, epoch, micros)
            if number == 4:
                next(iter(trainer.trained.values())).data[0] = float("nan")
            return found

        trainer._update = spoiling

    with pytest.raises(ModelError, match=r"^update 5: a weight of \S+ is nan; lower train.lr"):
        bench.train(spoil)
    assert bench.names()[-1] == "update-00000004"
