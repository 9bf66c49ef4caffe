"""Settings of a model with a few thousand weights, and samples of every task."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import PIL.Image
import torch

from openmedq.config import Normalize, Train
from openmedq.model import encoders, prompt
from openmedq.model import model as models
from openmedq.schema import Image, Provenance, Sample, Task, Turn
from openmedq.storage.images import encode
from openmedq.storage.progress import NoLog
from openmedq.training import devices
from openmedq.training.checkpoint import Checkpoints
from openmedq.training.data import EncodedRows
from openmedq.training.learner import Learner
from openmedq.training.order import Order
from openmedq.training.trainer import Trainer
from tests.storage.drawing import save

SIDE_PX, PATCH_PX, WIDTH = 32, 8, 32
NUM_PATCHES = (SIDE_PX // PATCH_PX) ** 2
NORMALIZATION = SimpleNamespace(image_mean=[0.5, 0.4, 0.3], image_std=[0.25, 0.26, 0.27])  # of the image processor
TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def make_settings(**changes: Any) -> Train:
    tree: dict[str, Any] = {
        "vision": {
            "encoder": "scratch",
            "weights": None,
            "image_size_px": SIDE_PX,
            "patch_size_px": PATCH_PX,
            "width": 24,
            "num_layers": 2,
            "num_heads": 2,
            "mean": NORMALIZATION.image_mean,
            "std": NORMALIZATION.image_std,
        },
        "language": {"weights": None, "width": WIDTH, "num_layers": 2, "num_heads": 2, "vocabulary_size": 320},
        "lora": {"rank": 4, "alpha": 16, "targets": TARGETS},
        "max_tokens": 96,
        "batch_size": 4,
        "micro_batch_size": 4,
        "num_epochs": 1,
        "lr": 1e-2,
    }
    for name, value in changes.items():
        tree[name] = {**tree.get(name, {}), **value} if isinstance(value, dict) else value
    return Train.model_validate(tree)


def make_image(level: int = 0, mode: str = "L", size: tuple[int, int] = (40, 36)) -> Image:
    noise = PIL.Image.fromarray(np.random.default_rng(level).integers(0, 256, (size[1], size[0], 3), np.uint8))
    return Image(f"image-{level}", data=save(noise.convert(mode), "PNG"))


def make_sample(task: Task = Task.VQA, *turns: Turn, num_images: int = 1, name: str = "1", **changes: Any) -> Sample:
    return Sample(
        id=f"tiny/{name}",
        source="tiny",
        split="train",
        task=task,
        modality="radiology",
        licence="CC0-1.0",
        provenance=Provenance("rows.json", name),
        turns=turns or (Turn("Where is the mass?", "upper left"),),
        images=tuple(make_image(number) for number in range(num_images)),
        **changes,
    )


def store(sample: Sample) -> Sample:
    """The sample as `normalize` stores it: with encoded images."""
    encoded = [replace(encode(image.data or b"", Normalize()), image_id=image.image_id) for image in sample.images]
    return replace(sample, images=tuple(encoded))


SAMPLES = [
    make_sample(),
    make_sample(
        Task.MULTIPLE_CHOICE, Turn("Which organ?", "heart", options=("lung", "heart")), num_images=0, name="choice"
    ),
    make_sample(
        Task.TEXT_QA, Turn("Does it help?", "yes", "BACKGROUND: It is.", ("yes", "no")), num_images=0, name="text"
    ),
    make_sample(Task.CAPTION, Turn("", "A mass in the left lung."), name="caption"),
    make_sample(Task.REPORT, Turn("findings", "Clear."), Turn("impression", "Normal."), num_images=2, name="report"),
    make_sample(Task.CLASSIFICATION, Turn("", "normal"), labels=("normal",), name="class"),
]


def make_trainer(
    model: Any,
    processor: Any,
    folder: Path,
    log: Any = None,
    samples: Sequence[Sample] = SAMPLES,
    settings: Train | None = None,
    **changes: Any,
) -> Trainer:
    """A training of the samples, each a row of a row group of its own, with its checkpoints in a folder."""
    settings = settings or make_settings(**changes)
    own = devices.start(settings, "cpu")
    rows = np.arange(len(samples))
    return Trainer(
        learner=Learner(model, settings),
        dataset=EncodedRows(samples, processor, encoders.count_patches(settings.vision), settings.max_tokens),
        order=Order(np.ones(len(rows), np.float32), rows, settings.seed, settings.batch_size),
        held_out=rows[:3],
        sources=rows % 2,
        source_names=["even", "odd"],
        settings=settings,
        devices=own,
        log=log or NoLog(),
        checkpoints=Checkpoints({"settings": "test"}, own, folder),
        pad_id=processor.tokenizer.pad_token_id,
    )


def texts(samples: Sequence[Sample] = SAMPLES) -> list[str]:
    pairs = [(sample.task, turn) for sample in samples for turn in sample.turns]
    return [f"{prompt.request(task, turn)}\nAnswer: {prompt.respond(task, turn)}" for task, turn in pairs]


def save_model(folder: Path, **changes: Any) -> Path:
    """Save a model of these settings, as after a training."""
    torch.manual_seed(0)
    model, processor = models.build(make_settings(**changes), texts())
    shake(model)
    models.save(model, processor, folder)
    return folder


def shake(model: torch.nn.Module, seed: int = 0) -> None:
    """Change every trained weight, as training does: adapters start as the identity."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter += 0.05 * torch.randn(parameter.shape, generator=generator)
