"""Timed runs of our trainer and of transformers' `Trainer`, for `train.py` and `train_gpu.py`."""

import io
import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import torch
import transformers
from mix import SOURCE
from transformers import TrainerCallback, TrainingArguments

from openmedq.config import Train
from openmedq.model import encoders, prompt, speed
from openmedq.model.batch import collate
from openmedq.schema import Sample
from openmedq.storage.progress import NoLog
from openmedq.training import data, devices, optimizer
from openmedq.training.checkpoint import Checkpoints
from openmedq.training.data import EncodedRows, Piece, Row
from openmedq.training.history import History
from openmedq.training.learner import Learner
from openmedq.training.optimizer import scale
from openmedq.training.order import Order
from openmedq.training.trainer import Trainer


@dataclass
class Timed:
    """What a run measured: the updates after the first `skip`."""

    device: torch.device
    skip: int
    last: int
    seconds: float = 0.0
    cpu_s: float = 0.0
    num_samples: int = 0
    num_real: int = 0  # tokens without padding
    num_slots: int = 0
    num_images: int = 0
    wait_s: float = 0.0
    first_loss: float = float("nan")
    start_s: float = 0.0  # until the first batch was there

    def tick(self, step: int) -> bool:
        """End an update, counted from 1; return whether it is measured."""
        if step in (self.skip, self.last):
            if self.device.type == "cuda":
                torch.cuda.synchronize(self.device)  # with all its work done
            # After `skip` a point of time, after `last` the time since then.
            self.seconds = time.perf_counter() - self.seconds
            self.cpu_s = time.process_time() - self.cpu_s
        return step > self.skip

    def count(self, mask: Any, num_real: int, num_images: int) -> None:
        """Count a micro batch of an update that is measured."""
        self.num_samples += len(mask)
        self.num_real += num_real
        self.num_slots += mask.numel()
        self.num_images += num_images

    @property
    def samples_per_s(self) -> float:
        """Speed."""
        return self.num_samples / self.seconds

    @property
    def padding(self) -> float:
        """Share of the token slots."""
        return 1 - self.num_real / self.num_slots


# Our trainer ----------------------------------------------------------------------------------------------------------


class _NoCheckpoints(Checkpoints):
    def save(self, *_: Any) -> str:
        """Write nothing."""
        return ""

    def resume(self, *_: Any) -> History:
        """Start anew."""
        return History()


@dataclass
class _TimedTrainer(Trainer):
    timed: Any = None

    def _update(self, number: int, epoch: int, micros: Any) -> Any:
        if not number:
            self.timed.start_s = time.perf_counter() - self.timed.start_s
        pending = super()._update(number, epoch, micros)
        if self.timed.tick(number + 1):
            for micro in micros:
                self.timed.count(micro.batch.mask, int(micro.batch.mask.sum()), len(micro.batch.pixels))
        return pending


@dataclass
class _Log(NoLog):
    timed: Timed

    def __call__(self, metrics: Any, step: int | None) -> None:
        """Add up the waits."""
        if step is not None and step > self.timed.skip:
            self.timed.wait_s += metrics.get("data_wait_s", 0.0)


def run_ours(
    model: Any,
    processor: Any,
    samples: Any,
    groups: np.ndarray[Any, np.dtype[np.int64]],
    settings: Train,
    device: torch.device,
    *,
    num_updates: int,
    skip: int,
    num_workers: int = 0,
) -> Timed:
    """Train with openmedq's loop. `samples` are rows of a store or encoded ones (`EncodedRows`)."""
    settings = settings.model_copy(update={"max_steps": num_updates})
    own = devices.start(settings, device.type)
    speed.prepare(model, settings, device)
    timed = Timed(device, skip, num_updates)
    trainer = _TimedTrainer(
        learner=Learner(model, settings),
        dataset=samples if isinstance(samples, EncodedRows) else encode_rows(samples, processor, settings),
        order=Order(np.ones(len(samples), np.float32), groups, settings.seed, settings.batch_size),
        held_out=np.zeros(0, np.int64),
        sources=np.zeros(len(samples), np.int64),
        source_names=[SOURCE],
        settings=settings,
        devices=own,
        log=_Log(timed),
        checkpoints=_NoCheckpoints({}, own, Path()),
        num_workers=num_workers,
        pad_id=processor.tokenizer.pad_token_id,
        timed=timed,
    )
    timed.start_s = time.perf_counter()
    history = trainer.train()
    timed.first_loss = history.losses[0]
    return timed


def encode_rows(samples: Sequence[Sample], processor: Any, settings: Train) -> EncodedRows:
    """Return the rows as our loader reads them."""
    return EncodedRows(samples, processor, encoders.count_patches(settings.vision), settings.max_tokens)


def fill(rows: EncodedRows) -> Iterator[Row]:
    """Yield all rows, which stay in the cache."""
    data.MAX_CACHE_BYTES = 2**33
    for number in range(len(rows)):
        yield from rows[Piece(np.array([number]), np.array([np.nan], np.float32))]


# transformers' trainer ------------------------------------------------------------------------------------------------


class StockRows(torch.utils.data.Dataset[dict[str, Any]]):
    """Rows in a given order, with images prepared by the saved processor, as users of `Trainer` do."""

    def __init__(self, samples: Sequence[Sample], order: Sequence[int], processor: Any, settings: Train) -> None:
        self._samples, self._order, self._processor, self._settings = samples, order, processor, settings
        self._num_patches = encoders.count_patches(settings.vision)

    def __len__(self) -> int:
        return len(self._order)

    def __getitem__(self, place: int) -> dict[str, Any]:
        sample = self._samples[self._order[place]]
        encoded = prompt.encode(sample, self._processor.tokenizer, self._num_patches, self._settings.max_tokens)
        row: dict[str, Any] = {"input_ids": encoded.ids, "labels": encoded.labels, "pixel_values": None}
        if sample.images:
            opened = [PIL.Image.open(io.BytesIO(image.data or b"")) for image in sample.images]
            row["pixel_values"] = self._processor.image_processor(opened, return_tensors="pt")["pixel_values"]
        return row


class _Timer(TrainerCallback):
    def __init__(self, timed: Timed) -> None:
        self._timed = timed

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Mark an update."""
        self._timed.tick(state.global_step)


class _TimedStock(transformers.Trainer):
    timed: Timed

    def compute_loss(self, model: Any, inputs: Any, *rest: Any, **options: Any) -> Any:
        """Count the tokens."""
        num_real = inputs.pop("num_real")
        if self.state.global_step >= self.timed.skip:
            self.timed.count(inputs["attention_mask"], num_real, len(inputs.get("pixel_values", ())))
        return super().compute_loss(model, inputs, *rest, **options)


def run_stock(
    model: Any,
    processor: Any,
    rows: Any,
    settings: Train,
    device: torch.device,
    folder: Path,
    *,
    num_updates: int,
    skip: int,
    sampling: str = "sequential",
) -> Timed:
    """Train with transformers' `Trainer`: same optimizer and schedule, each micro batch padded to its longest row."""
    torch.use_deterministic_algorithms(False)
    timed = Timed(device, skip, num_updates)
    micro = int(settings.micro_batch_size)

    def collate_stock(picked: list[dict[str, Any]]) -> dict[str, Any]:
        batch = collate(
            [row["input_ids"] for row in picked],
            [],
            pad_id=processor.tokenizer.pad_token_id,
            labels=[row["labels"] for row in picked],
        )
        found: dict[str, Any] = {"input_ids": batch.ids, "attention_mask": batch.mask, "labels": batch.labels}
        found["num_real"] = int(batch.mask.sum())
        shown = [row["pixel_values"] for row in picked if row["pixel_values"] is not None]
        return found | ({"pixel_values": torch.cat(shown)} if shown else {})

    trained = {name: each for name, each in model.named_parameters() if each.requires_grad}
    adam = optimizer.build(trained, settings)
    for group in adam.param_groups:
        group["lr"] = group["rate"]
    num_warmup = round(settings.warmup * num_updates)
    schedule = torch.optim.lr_scheduler.LambdaLR(adam, lambda step: scale(step, num_warmup, num_updates))
    logging.getLogger("transformers").setLevel(logging.ERROR)
    trainer = _TimedStock(
        model=model,
        args=TrainingArguments(
            output_dir=str(folder),
            per_device_train_batch_size=micro,
            gradient_accumulation_steps=settings.batch_size // micro,
            max_steps=num_updates,
            max_grad_norm=settings.max_grad_norm,
            bf16=settings.precision == "bf16",
            use_cpu=device.type == "cpu",
            train_sampling_strategy=sampling,
            logging_strategy="steps",
            logging_steps=num_updates,
            logging_first_step=True,
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
            remove_unused_columns=False,
            seed=settings.seed,
        ),
        train_dataset=rows,
        data_collator=collate_stock,
        optimizers=(adam, schedule),
        callbacks=[_Timer(timed)],
    )
    trainer.remove_callback(transformers.PrinterCallback)
    trainer.timed = timed
    trainer.train()
    timed.first_loss = next(entry["loss"] for entry in trainer.state.log_history if "loss" in entry)
    return timed
