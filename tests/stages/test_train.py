import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import torch

from openmedq import paths
from openmedq.config import Params
from openmedq.errors import ModelError, ParamsError, ValidationError
from openmedq.model import model as models
from openmedq.model import provenance
from openmedq.storage.shards import ShardStore
from openmedq.training import train
from openmedq.training.data import EncodedRows, Piece, collate_rows
from openmedq.training.devices import Devices
from openmedq.training.learner import Learner
from openmedq.training.optimizer import scale
from openmedq.training.trainer import Trainer
from tests.curate.corpus import make_params
from tests.model import tiny
from tests.recorded import Recorded
from tests.stages.results import write_run

pytestmark = pytest.mark.usefixtures("torch_on_one_thread")

SETTINGS = {"batch_size": 8, "micro_batch_size": 8, "max_steps": 6, "num_epochs": 9, "lr": 5e-3}


@pytest.fixture(autouse=True)
def _project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_run()


def params(workers: int = 1, **changes: Any) -> Params:
    settings = tiny.make_settings(**SETTINGS | changes).model_dump(mode="json")
    return make_params(train=settings, execution={"device": "cpu", "workers": workers})


def run(settings: Params) -> tuple[dict[str, float], list[tuple[int | None, dict[str, float]]]]:
    log = Recorded()
    train.run(settings, log)
    return json.loads(train.METRICS.read_text()), log.steps


def losses() -> list[float]:
    return [float(line.split(",")[1]) for line in train.LOSSES.read_text().splitlines()[1:]]


def edit_index(edit: Any) -> None:
    pq.write_table(edit(pq.read_table(train.INDEX)), train.INDEX)


def test_it_writes_a_model_its_losses_and_its_counts() -> None:
    metrics, logged = run(params())
    model, processor = models.load(paths.MODEL)
    assert model.config.image_seq_length == tiny.NUM_PATCHES
    assert processor.tokenizer.model_max_length == 96
    lines = train.LOSSES.read_text().splitlines()
    assert lines[0] == "step,loss,validation_loss"
    assert [int(line.split(",")[0]) for line in lines[1:]] == [1, 2, 3, 4, 5, 6]
    assert metrics["num_steps"] == 6
    assert metrics["num_samples"] == 48
    assert metrics["num_tokens"] > 48
    assert metrics["num_cut_samples"] == 0
    assert metrics["loss"] == losses()[-1]
    assert set(metrics) == {"loss", "num_steps", "num_samples", "num_tokens", "num_cut_samples"}
    assert [step for step, _ in logged] == [1, 2, 3, 4, 5, 6, None]
    assert [values["loss"] for _, values in logged[:-1]] == losses()
    assert {"loss_of/open_vqa", "loss_of/secret_vqa", "loss_of/open_text"} <= logged[-2][1].keys()
    assert [values["lr"] for _, values in logged[:-1]] == [5e-3 * scale(update, 0, 6) for update in range(6)]
    assert logged[-1][1] == {"loss": metrics["loss"]}
    assert not list(paths.PARTIAL.glob("*model"))


def test_the_model_describes_its_training_data() -> None:
    write_run(mix={"roles": {"open_text": {"train": None}}})
    run(params())
    tree = json.loads((paths.MODEL / provenance.NAME).read_text(encoding="utf-8"))
    assert tree == provenance.read(paths.MODEL)
    assert tree == {
        "policy": "any",
        "sources": {
            source: {"access": access, "origin": "mirror", "rows": 17, "licences": {"CC0-1.0": 17}}
            for source, access in (("open_vqa", "open"), ("secret_vqa", "credentialed"))
        },
        "base_weights": {},
        "num_devices": 1,
        "micro_batch_size": 8,
    }


def test_only_training_rows_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    read_ids: set[str] = set()
    take = EncodedRows.__getitem__

    def spy(self: EncodedRows, piece: Piece) -> Any:
        read_ids.update(self._samples[number].id for number in piece.rows.tolist())
        return take(self, piece)

    monkeypatch.setattr(EncodedRows, "__getitem__", spy)
    run(params())
    index = pq.read_table(train.INDEX)
    roles = dict(zip(index["id"].to_pylist(), index["role"].to_pylist(), strict=True))
    assert {roles[row_id] for row_id in read_ids} == {"train"}
    assert read_ids == {row_id for row_id, role in roles.items() if role == "train"}


def test_rows_of_the_role_validation_have_a_loss_of_their_own() -> None:
    write_run(mix={"roles": {"open_vqa": {"test": "validation"}}})
    metrics, logged = run(params())
    assert logged[-1][1] == {"loss": metrics["loss"], "validation_loss": metrics["validation_loss"]}
    assert float(train.LOSSES.read_text().splitlines()[-1].split(",")[2]) == metrics["validation_loss"]
    model, processor = models.load(paths.MODEL)
    index = pq.read_table(train.INDEX)
    rows = index.filter(pc.equal(index["role"], "validation"))
    assert len(rows) > 0
    dataset = EncodedRows(ShardStore(paths.SAMPLES).take(rows), processor, tiny.NUM_PATCHES, 96)
    shown = dataset[Piece(np.arange(len(rows)), np.full(len(rows), np.nan, np.float32))]
    batch = collate_rows(shown, processor.tokenizer.pad_token_id).batch
    with torch.no_grad():
        expected = model(**batch.inputs(processor.image_processor), labels=batch.labels).loss
    assert metrics["validation_loss"] == pytest.approx(expected.item(), rel=1e-4)


def test_questions_alone_can_be_trained_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def decode(*_: object) -> None:
        raise AssertionError("an image was read")

    monkeypatch.setattr("openmedq.training.data.decode", decode)
    run(params(with_images=False))
    assert losses()[-1] < losses()[0]


@pytest.mark.parametrize("is_trained", [True, False])
def test_bf16_trains_too(is_trained: bool) -> None:
    run(params(precision="bf16", vision={"is_trained": is_trained}))
    model, _ = models.load(paths.MODEL)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}
    assert losses()[-1] < losses()[0]


@pytest.mark.parametrize(
    ("spoil", "what"),
    [(lambda loss: loss * float("nan"), "loss"), (lambda loss: loss + torch.sqrt(0 * loss), "norm of the gradient")],
)
def test_a_value_that_is_not_finite_is_one_line_and_writes_nothing(
    spoil: Any, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward = Learner.forward

    def compute_spoiled(*arguments: Any, **options: Any) -> Any:
        found = forward(*arguments, **options)
        return found._replace(next_token=spoil(found.next_token))

    monkeypatch.setattr(Learner, "forward", compute_spoiled)
    with pytest.raises(ModelError, match=rf"^update 1: the {what} is nan; lower train.lr \(0.005\)"):
        run(params())
    assert not paths.MODEL.exists()
    assert not paths.TRAINING.exists()


@pytest.mark.parametrize(
    ("lr", "what"),
    [
        (1e30, r"a weight of \S+ is nan|the loss after the update is (nan|inf)"),
        (1e12, "the loss after the update is nan"),
    ],
)
def test_a_last_update_that_breaks_the_model_is_an_error(lr: float, what: str) -> None:
    paths.MODEL.mkdir()
    with pytest.raises(ModelError, match=rf"^update 1: ({what}); lower train.lr"):
        run(params(lr=lr, max_steps=1, warmup=0))
    assert not list(paths.MODEL.iterdir()) and not paths.TRAINING.exists(), "the old output stays"


def test_a_batch_that_can_not_be_divided_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train.devices, "start", lambda *_: Devices(torch.device("cpu"), num=3))
    with pytest.raises(ParamsError, match=r"train.batch_size: 8 is not a multiple of the number of devices, 3"):
        run(params())


def test_a_mix_without_training_rows_is_an_error() -> None:
    edit_index(lambda index: index.filter(pc.equal(index["role"], "evaluation")))
    with pytest.raises(ValidationError, match=r"data/mix/index.parquet: no training rows"):
        run(params())


def test_a_contrastive_loss_alone_needs_rows_with_images() -> None:
    settings = {"next_token_weight": 0.0, "contrastive_weight": 1.0}
    write_run(mix={"roles": {"open_text": {"test": "validation"}}})
    with pytest.raises(ValidationError, match="no validation rows"):
        run(params(validate_every=2, patience=1, **settings))
    assert "validation_loss" not in run(params(max_steps=1, **settings))[0]
    edit_index(lambda index: index.filter(pc.equal(index["source"], "open_text")))
    with pytest.raises(ValidationError, match=r"no training images, which train.next_token_weight: 0 needs"):
        run(params(**settings))


NO_VALIDATION = "data/mix/index.parquet: no validation rows, which train.patience and"


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"validate_every": 2, "patience": 1}, ValidationError, NO_VALIDATION),
        ({"validate_every": 2, "select": "best"}, ValidationError, NO_VALIDATION),
        ({"align_steps": 99, "max_steps": None}, ParamsError, r"align_steps: 99, but the training has \d+ updates"),
        ({"max_tokens": 20}, ModelError, r"train.max_tokens: 20 is too small for \S+: 1 x 16 image slots"),
        ({"max_tokens": 20, "with_images": False}, TypeError, "NoneType"),  # none: the training starts
    ],
)
def test_settings_that_can_not_train_are_an_error_before_the_first_update(
    changes: Any, error: Any, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Trainer, "train", None)
    with pytest.raises(error, match=words):
        run(params(**changes))


def weigh(weight: float) -> None:
    def replace(index: pa.Table) -> pa.Table:
        place = index.schema.get_field_index("weight")
        return index.set_column(place, index.schema.field(place), pa.array([weight] * len(index), pa.float32()))

    edit_index(replace)


def test_weights_that_draw_no_row_are_an_error() -> None:
    weigh(1e-50)
    with pytest.raises(ValidationError, match=r"an epoch has 0 rows, the sum of their weights; raise mix.weights"):
        run(params())


def test_weights_of_the_index_count() -> None:
    weigh(0.5)
    index = pq.read_table(train.INDEX)
    num_rows = len(index.filter(pc.equal(index["role"], "train")))
    metrics, _ = run(params(max_steps=None, num_epochs=2))
    assert metrics["num_steps"] == -(-num_rows // 8)


def test_a_mix_of_text_alone_trains() -> None:
    edit_index(lambda index: index.filter(pc.equal(index["source"], "open_text")))
    metrics, _ = run(params(batch_size=2, micro_batch_size=2))
    assert metrics["num_samples"] == 12
