"""The command `estimate` agrees with counted parameters, torch's counts, and what was measured on one H100."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from openmedq import paths
from openmedq.cli import main
from openmedq.config import Normalize, Train, load, profile
from openmedq.errors import ValidationError
from openmedq.model import model as models
from openmedq.model import sizes
from openmedq.model.batch import Batch
from openmedq.model.prompt import encode
from openmedq.reporting import estimate
from openmedq.storage.shards import ShardStore
from openmedq.training.learner import Learner

from . import tiny
from .test_batch import make_batch

ROOT = Path(__file__).parents[2]
GIB = 2**30
SMALL: dict[str, Any] = {"language": {"width": 128, "num_layers": 4}, "vision": {"width": 96, "num_layers": 4}}
VARIANTS: dict[str, dict[str, Any]] = {
    "fp32": {},
    "bf16": {"precision": "bf16"},
    "q and v": {"lora": {"targets": ["q_proj", "v_proj"]}},
    "frozen encoder": {"vision": {**SMALL["vision"], "is_trained": False}},
}


@pytest.fixture(params=VARIANTS)
def settings(request: pytest.FixtureRequest) -> Train:
    return tiny.make_settings(**{**SMALL, **VARIANTS[request.param]})


@pytest.fixture
def paper() -> Train:
    return profile(ROOT / paths.CONF, "paper").train


def _build(settings: Train) -> tuple[torch.nn.Module, Batch]:
    """The model itself, and a batch of all tiny samples."""
    torch.manual_seed(0)
    model, processor = models.build(settings, tiny.texts())
    return model.train(), make_batch(processor, list(range(len(tiny.SAMPLES))))


def _run(model: torch.nn.Module, batch: Batch, settings: Train) -> Tensor:
    with torch.autocast("cpu", torch.bfloat16, enabled=settings.precision == "bf16"):
        loss: Tensor = model(**batch.inputs(tiny.NORMALIZATION), labels=batch.labels, use_cache=False).loss
    return loss


def test_parameters_are_those_of_the_model(settings: Train) -> None:
    model, _ = _build(settings)
    parts = sizes.list_parts(sizes.build(settings))
    assert sum(part.num_parameters for part in parts) == sum(each.numel() for each in model.parameters())
    trained = sum(each.numel() for each in model.parameters() if each.requires_grad)
    assert sum(part.num_trained for part in parts) == trained


def test_flops_are_those_that_torch_counts(settings: Train) -> None:
    model, batch = _build(settings)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:  # the fused kernel is not counted
        _run(model, batch, settings).backward()
    flops = sizes.count_flops(sizes.build(settings), settings, batch.ids.numel(), len(batch.pixels), batch.ids.shape[1])
    assert sum(flops.values()) == pytest.approx(counter.get_total_flops(), rel=0.01)


def test_without_next_token_loss_the_flops_are_at_most_those_of_all_texts() -> None:
    settings = tiny.make_settings(**SMALL, next_token_weight=0.0, contrastive_weight=1.0)
    model, batch = _build(settings)
    learner = Learner(model, settings)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        learner(batch).contrastive.backward()
    model = sizes.build(settings)
    flops = sizes.count_flops(model, settings, batch.mask.sum().item(), len(batch.pixels), batch.ids.shape[1])
    assert counter.get_total_flops() < sum(flops.values()) < 2.2 * counter.get_total_flops()  # 3.2 with image slots
    assert not sizes.find_memory(model, settings, 96, 1, 80).logits


def test_activations_are_those_that_autograd_keeps(settings: Train) -> None:
    model, batch = _build(settings)
    weights = {each.untyped_storage().data_ptr() for each in (*model.parameters(), *model.buffers())}
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        if tensor.untyped_storage().data_ptr() not in weights:
            kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = _run(model, batch, settings)
    length, vocabulary = batch.ids.shape[1], model.config.text_config.vocab_size
    unlike = {(length, length), (length, vocabulary)}  # padding masks; logits
    measured = sum(
        tensor.untyped_storage().nbytes()
        for tensor in kept.values()
        if tuple(tensor.shape[-2:]) not in unlike and tensor.shape[-1:] != (vocabulary,)
    )
    assert loss.requires_grad
    memory = sizes.find_memory(sizes.build(settings), settings, batch.ids.numel(), len(batch.pixels), 0)
    assert memory.activations == pytest.approx(measured, rel=0.1)


def test_memory_is_what_an_h100_showed(paper: Train) -> None:
    """57 GiB at 16 samples padded to the longest, near `max_tokens`, and logits everywhere; out of memory at 32."""
    model = sizes.build(paper)

    def measure(micro: int, settings: Train = paper) -> int:
        tokens = micro * paper.max_tokens
        return sizes.find_memory(model, settings, tokens, 0.85 * micro, tokens).total

    assert measure(16) / GIB == pytest.approx(57, rel=0.1)
    assert measure(32) / GIB > 79
    assert measure(32, paper.model_copy(update={"activation_checkpointing": True})) < measure(16)


def test_speed_is_what_an_h100_showed(paper: Train) -> None:
    """27.4 samples/s of 265 tokens, 85 % of them with an image, were an MFU of 19.7 %."""
    flops = sum(sizes.count_flops(sizes.build(paper), paper, 265, 0.85, 265).values())
    assert 0.197 * 989e12 / flops == pytest.approx(27.4, rel=0.05)


def test_checkpointing_computes_the_language_model_again(paper: Train) -> None:
    again = paper.model_copy(update={"activation_checkpointing": True})
    flops = sizes.count_flops(sizes.build(again), again, 1000, 3, 300)
    assert flops["computed again"] == pytest.approx(flops["language"] / 2)


def test_an_epoch_sums_rows_by_weight() -> None:
    settings = tiny.make_settings()  # 16 patches an image, 96 tokens at most
    columns = {"weight": [1.0, 0.5, 2.0], "num_images": [1, 0, 2], "num_chars": [40, 1000, 20]}
    rows = pa.table(
        {
            name: pa.array(np.array(column, np.float32 if name == "weight" else np.int32))
            for name, column in columns.items()
        }
    )
    epoch = estimate.sum_rows(rows, settings, 4.0, "here")
    assert (epoch.samples, epoch.images) == (3.5, 5.0)
    assert epoch.tokens == 1 * (16 + 10) + 0.5 * 96 + 2 * (32 + 5)
    blind = estimate.sum_rows(rows, tiny.make_settings(with_images=False), 4.0, "here")
    assert (blind.images, blind.tokens) == (0, 1 * 10 + 0.5 * 96 + 2 * 5)


def test_tokens_of_an_index_are_measured_with_the_tokenizer(
    project: Path, tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = paths.SAMPLES / "tiny"
    folder.mkdir(parents=True)
    ShardStore(folder).write(map(tiny.store, tiny.SAMPLES), Normalize())
    turns = [[(turn.question, turn.answer, turn.context) for turn in sample.turns] for sample in tiny.SAMPLES]
    rows = [
        {
            "source": "tiny",
            "shard": "shard-00000.parquet",
            "row_group": 0,
            "row": number,
            "role": "train",
            "weight": 1.0,
            "num_images": len(sample.images),
            "num_chars": sum(len(text) for texts in turns[number] for text in texts),
        }
        for number, sample in enumerate(tiny.SAMPLES)
    ]
    rows.append({**rows[0], "role": "evaluation"})
    monkeypatch.setattr(estimate, "read_index", lambda: pa.Table.from_pylist(rows))
    monkeypatch.setattr(estimate.tokenizer, "find", lambda *_, **__: tokenizer)
    settings = tiny.make_settings(max_tokens=200)
    epoch = estimate.read_epoch(settings)
    encoded = [encode(sample, tokenizer, tiny.NUM_PATCHES, 200) for sample in tiny.SAMPLES]
    assert epoch.samples == len(tiny.SAMPLES) and "measured on 6 rows" in epoch.origin
    assert epoch.tokens == pytest.approx(sum(len(each.ids) for each in encoded), rel=1e-6)


def test_the_largest_micro_batch_fits_and_the_next_does_not(
    paper: Train, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = sizes.build(paper)
    monkeypatch.setattr(sizes, "build", lambda _: model)
    params = profile(ROOT / paths.CONF, "paper")
    epoch = estimate._add_cards(params)
    monkeypatch.setattr(estimate, "_add_cards", lambda _: epoch)
    for fit, gpu in zip(_estimate(params, 16).fits, estimate.GPUS, strict=True):
        totals = [_estimate(params, fit.max_micro_batch + more).memory.total for more in (0, 1)]
        assert totals[0] <= gpu.memory_bytes < totals[1], gpu.name


def _estimate(params: Any, micro: int) -> estimate.Estimate:
    train = params.train.model_copy(update={"micro_batch_size": micro})
    return estimate.estimate(params.model_copy(update={"train": train}), 0.2, has_index=False)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    for name in ("params.yaml", "data/catalogue.yaml"):
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def test_the_paper_is_estimated_offline(project: Path) -> None:
    found = estimate.estimate(profile(ROOT / paths.CONF, "paper"), 0.2, has_index=False)
    trained = {part.name: part.num_trained for part in found.parts}
    assert sum(trained.values()) == 93_141_248
    assert trained[sizes.ENCODER] == 85_797_120  # ViT-B/16 without its last normalization and pooler
    assert trained[sizes.ADAPTERS] == 32 * 2 * 8 * (4096 + 4096)  # layers x (q, v) x rank x (in + out)
    assert trained[sizes.PROJECTOR] == 768 * 4096 + 4096
    assert sum(part.num_parameters for part in found.parts) == pytest.approx(6.76e9 + 93_141_248, rel=0.01)
    assert 3e6 < found.epoch.samples < 3.5e6 and "published" in found.epoch.origin
    assert found.fits[1].hours / 24 == pytest.approx(21, rel=0.1)  # days on one H100
    assert [fit.is_fitting for fit in found.fits] == [True, True, False]


def test_the_tables_fit_a_terminal(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["estimate", "--profile", "paper", "--mfu", "40"]) == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80 and "…" not in out
    assert "at an MFU of 40 %" in out and "4 N a token" in out and "too large" in out


def test_a_mix_without_training_rows_is_an_error(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimate, "read_epoch", lambda _: estimate.Epoch("", 0, 0, 0))
    with pytest.raises(ValidationError, match="no training rows"):
        estimate.estimate(load(paths.PARAMS), 0.2, has_index=True)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["--mfu", "0"], "--mfu: 0 is not a percentage"),
        (["--profile", "large"], "large: unknown profile"),
        (["--profile", "small"], "set train.language.width, num_layers, num_heads, vocabulary_size"),
    ],
)
def test_an_error_is_one_line(
    project: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], error: str
) -> None:
    assert main(["estimate", *arguments]) == 1
    line = capsys.readouterr().err
    assert error in line and line.count("\n") == 1
