"""Speed of training LLaMA's 7B shape on one GPU, stage by stage, beside transformers' `Trainer` in the same run.

The settings are those of the profile `paper`, but for random weights, drawn on the device: nothing is downloaded. The
mix is generated (see `mix.py`) and written as shards. Each stage builds the model anew and runs a few updates; the
first ones are not counted. A stage that fails, as out of memory, is a row of the table; stages for which no time is
left are skipped.

MFU counts 4 N FLOPs for each token without padding, over N frozen weights of matrix products under LoRA, and 6 N for
the encoder's (`openmedq.model.sizes`), without attention and without what activation checkpointing computes again.

`--tiny` runs all stages on a small model on the CPU, to try the script: there Liger's stages fail, and
compiled layers run without a C++ compiler.
"""

import os

os.environ["HF_HUB_OFFLINE"] = "1"

import argparse
import gc
import signal
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partialmethod
from pathlib import Path
from typing import Any
from unittest.mock import patch

import mix
import numpy as np
import torch
import trainers
import transformers
from transformers import LlamaForCausalLM

import openmedq
from openmedq import config
from openmedq.config import Train
from openmedq.model import language, sizes
from openmedq.model import model as models
from openmedq.model.pixels import normalize
from openmedq.training.order import Order

GIB = 2**30
RANDOM = "random-weights"  # no such weights: `sizes` takes those of the settings
NOT_COMPUTE = ("attention", "computed again")


@dataclass(frozen=True)
class Stage:
    """One row of the table."""

    name: str
    changes: dict[str, Any] = field(default_factory=dict)  # of the settings
    from_shards: bool = False  # by loader processes; else rows are encoded and in memory
    is_stock: bool = False


FREE = {"deterministic": False}
CHECKPOINTED = FREE | {"activation_checkpointing": True, "micro_batch_size": 64}
STAGES = (
    Stage("as configured, from shards", {}, from_shards=True),
    Stage("as configured, rows in memory"),
    Stage("not deterministic (n. d.), in memory", FREE),
    Stage("Trainer, n. d., in memory", FREE, is_stock=True),
    Stage("n. d., checkpointing, micro batch 64", CHECKPOINTED),
    Stage("n. d., micro batch 32", FREE | {"micro_batch_size": 32}),
    # Liger's kernels replace functions of the whole process: its stages are last.
    Stage("n. d., liger", FREE | {"liger": True}),
    Stage("n. d., liger, micro batch 32", FREE | {"liger": True, "micro_batch_size": 32}),
    Stage("n. d., liger, from shards", FREE | {"liger": True}, from_shards=True),
    Stage("n. d., liger, compile", FREE | {"liger": True, "compile": True}),
    Stage("n. d., compile", FREE | {"compile": True}),
)
IS_ALONE = len(STAGES)  # the last stage: after Liger's, it would measure their kernels too


class OutOfTime(BaseException):
    """The time of all stages is spent."""


def main() -> None:
    """Run the stages and print the table, row by row."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tiny", action="store_true", help="a small model on the CPU")
    parser.add_argument("--seconds", type=int, default=230, help="for all stages, generated rows included")
    parser.add_argument("--updates", type=int, default=4, help="counted updates a stage")
    parser.add_argument("--skip", type=int, default=3, help="updates before them")
    parser.add_argument("--workers", type=int, default=8, help="loader processes")
    parser.add_argument("--peak-tflops", type=float, default=989.0, help="of the device, for MFU: H100, dense bf16")
    parser.add_argument("--stages", type=int, nargs="+", help="numbers of stages to run; default: 1 to 10")
    arguments = parser.parse_args()
    if arguments.tiny:
        arguments.updates, arguments.skip, arguments.workers = 2, 1, 2
        torch.set_num_threads(1)
        torch.nn.Module.compile = partialmethod(torch.nn.Module.compile, backend="aot_eager")  # type: ignore[assignment]
    elif not torch.cuda.is_available():
        raise SystemExit("error: torch finds no CUDA device; --tiny runs on the CPU")
    warnings.filterwarnings("ignore")
    with tempfile.TemporaryDirectory() as name, limit(arguments.seconds) as find_rest:
        bench = Bench(Path(name), arguments)
        numbers = arguments.stages or range(1, IS_ALONE + arguments.tiny)
        slowest = 0.0
        for number in numbers:
            stage, started = STAGES[number - 1], time.monotonic()
            if find_rest() < slowest:
                print(f"{number:>2} {stage.name:<37} skipped: no time left", flush=True)
                continue
            print(f"{number:>2} {stage.name:<37} {bench.run(stage)}", flush=True)
            slowest = max(slowest, time.monotonic() - started)


@contextmanager
def limit(seconds: int) -> Iterator[Any]:
    """Raise OutOfTime when the time is over; yields a function that returns the seconds that are left."""
    end = time.monotonic() + seconds

    def stop(*_: Any) -> None:
        raise OutOfTime

    signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield lambda: end - time.monotonic()
    finally:
        signal.alarm(0)


class Bench:
    """What the stages share: settings, shards, encoded rows, tokenizer."""

    def __init__(self, folder: Path, arguments: argparse.Namespace) -> None:
        """Write the shards and read them into memory."""
        self._folder, self._arguments = folder, arguments
        self._settings = configure(arguments.tiny)
        self._device = torch.device("cpu" if arguments.tiny else "cuda")
        self._num_updates = arguments.skip + arguments.updates
        num_rows = self._num_updates * self._settings.batch_size
        vocabulary_size = self._settings.language.vocabulary_size or 0
        self._index = mix.write_shards(folder, num_rows, min(4000, vocabulary_size // 2))
        samples = mix.open_rows(folder, self._index, 0)
        self._tokenizer = language.train_tokenizer(mix.read_texts(samples), min(4096, vocabulary_size))
        self._tokenizer.chat_template = models.CHAT_TEMPLATE
        self._tokenizer.model_max_length = self._settings.max_tokens
        self._processor = models.build_processor(self._tokenizer, self._settings.vision)
        self._encoded = trainers.encode_rows(samples, self._processor, self._settings)
        self._meta = sizes.build(self._settings)
        lengths = [len(row.ids) for row in trainers.fill(self._encoded)]
        print(
            f"{torch.cuda.get_device_name() if self._device.type == 'cuda' else 'CPU'}, torch {torch.__version__}, "
            f"transformers {transformers.__version__}; {num_rows} rows of about {np.mean(lengths):.0f} tokens, "
            f"{arguments.updates} updates of {self._settings.batch_size} rows after {arguments.skip}"
        )
        print(f"{'':<40} samples/s  tokens/s   MFU padding  wait first batch  memory 1st loss")

    def run(self, stage: Stage) -> str:
        """Return the row of a stage: its figures, or why it failed."""
        torch.backends.cuda.enable_cudnn_sdp(True)  # `make_deterministic` turns it off
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        failure = ""
        try:
            timed = self._measure(stage, self._settings.model_copy(update=stage.changes))
        except OutOfTime:
            raise SystemExit(f"{stage.name}: stopped: no time left") from None
        except Exception as error:  # anything that a stage may raise is a row; its stack trace would keep the memory
            failure = f"failed: {type(error).__name__}: {' '.join(str(error).split())[:110]}"
        peak = torch.cuda.max_memory_allocated() / GIB if self._device.type == "cuda" else float("nan")
        gc.collect()
        torch.cuda.empty_cache()
        return failure or self._render(timed, peak)

    def _measure(self, stage: Stage, settings: Train) -> trainers.Timed:
        torch.manual_seed(settings.seed)
        model = self._build(settings)
        groups = self._index["row_group"].to_numpy().astype(np.int64)
        options = {"num_updates": self._num_updates, "skip": self._arguments.skip}
        if stage.is_stock:
            order = Order(np.ones(len(self._index), np.float32), groups, settings.seed, settings.batch_size).draw(0)
            rows = self._make_stock(order.tolist(), settings)
            stock = self._folder / "stock"
            return trainers.run_stock(model, self._processor, rows, settings, self._device, stock, **options)
        samples: Any = self._encoded
        if stage.from_shards:
            options["num_workers"] = self._arguments.workers
            shared = self._folder / "rows.npy"
            samples = mix.open_rows(self._folder, self._index, self._arguments.workers, shared)
        return trainers.run_ours(model, self._processor, samples, groups, settings, self._device, **options)

    def _build(self, settings: Train) -> Any:
        """Build the model as the stage `train` does, around a language model of random weights on the device."""
        with self._device:
            before = torch.get_default_dtype()
            torch.set_default_dtype(torch.bfloat16)
            llama = LlamaForCausalLM(self._meta.config.text_config)
            torch.set_default_dtype(before)
        # The digests of the frozen weights, which are computed on the host, serve to check a saved model.
        with (
            patch.object(models.language, "build", lambda *_: (llama, self._tokenizer)),
            patch.object(models.checks, "remember_base"),
        ):
            return models.build(settings, [], self._device)[0]

    def _make_stock(self, order: list[int], settings: Train) -> list[dict[str, Any]]:
        """Return the encoded rows as `Trainer` takes them."""
        rows = list(trainers.fill(self._encoded))
        return [
            {
                "input_ids": rows[number].ids,
                "labels": rows[number].labels,
                "pixel_values": normalize(torch.stack(rows[number].pixels), settings.vision.mean, settings.vision.std)
                if rows[number].pixels
                else None,
            }
            for number in order
        ]

    def _render(self, timed: trainers.Timed, peak: float) -> str:
        flops = sizes.count_flops(self._meta, self._settings, timed.num_real, timed.num_images, 0)
        useful = sum(each for name, each in flops.items() if name not in NOT_COMPUTE)
        mfu = useful / timed.seconds / (self._arguments.peak_tflops * 1e12)
        wait = timed.wait_s / timed.seconds
        row = f"{timed.samples_per_s:>9.1f} {timed.num_real / timed.seconds:>9,.0f} {mfu:>5.1%} {timed.padding:>7.1%}"
        return f"{row} {wait:>5.1%} {timed.start_s:>9.1f} s {peak:>4.0f} GiB {timed.first_loss:>8.4f}"


def configure(is_tiny: bool) -> Train:
    """Return the settings of the paper, for random weights; `is_tiny`: a model of two layers."""
    settings = config.profile(Path(openmedq.__file__).parent / "conf", "paper").train
    vision: dict[str, Any] = {"encoder": "scratch", "weights": None}
    lm: dict[str, Any] = {"weights": RANDOM}
    changes: dict[str, Any] = {}
    if is_tiny:
        vision |= {"image_size_px": 48, "patch_size_px": 8, "width": 48, "num_layers": 2, "num_heads": 2}
        lm |= {"width": 64, "num_layers": 2, "num_heads": 2, "vocabulary_size": 1024}
        changes = {"batch_size": 8, "micro_batch_size": 2}
    return settings.model_copy(
        update={
            "vision": settings.vision.model_copy(update=vision),
            "language": settings.language.model_copy(update=lm),
            **changes,
        }
    )


if __name__ == "__main__":
    del __file__  # loader processes would import this script, unlike `python -m openmedq`
    main()
