"""Command `estimate`: parameters, memory, FLOPs and hours of a training, without weights and without a GPU."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from openmedq import paths
from openmedq.config import Params, Train
from openmedq.datasets import catalogue
from openmedq.datasets.licences import refuse_card
from openmedq.errors import ValidationError
from openmedq.model import encoders, sizes, tokenizer
from openmedq.model.prompt import encode
from openmedq.model.sizes import Memory, Part
from openmedq.schema import Role, Task
from openmedq.storage.shards import ShardStore
from openmedq.storage.tables import INDEX, read_index

GIB = 2**30
NUM_ENCODED = 300  # rows that are tokenized to find the characters of a token
CHARS_OF_TOKEN = 4.0  # without a tokenizer
TEXT_TOKENS = {  # of a sample, prompt and answer: assumed where no index states the lengths
    Task.VQA: 30,
    Task.MULTIPLE_CHOICE: 90,
    Task.CAPTION: 80,
    Task.REPORT: 120,
    Task.TEXT_QA: 300,
    Task.CLASSIFICATION: 30,
}


@dataclass(frozen=True)
class Gpu:
    """A GPU."""

    name: str
    memory_bytes: int  # that torch can allocate, without CUDA's own part
    peaks: Mapping[str, float]  # dense TFLOP/s by precision, as NVIDIA states them


GPUS = (
    Gpu("A100 80 GB", 78 * GIB, {"bf16": 312, "fp32": 19.5}),
    Gpu("H100 SXM 80 GB", 78 * GIB, {"bf16": 989, "fp32": 67}),
    Gpu("RTX 4090 24 GB", int(22.5 * GIB), {"bf16": 165, "fp32": 83}),
)


@dataclass(frozen=True)
class Epoch:
    """What one epoch contains, with the weights of the mix."""

    origin: str  # where the numbers are from
    samples: float
    images: float
    tokens: float  # image slots included; no padding


@dataclass(frozen=True)
class Fit:
    """A training on one GPU, with the settings as they are."""

    gpu: Gpu
    is_fitting: bool
    max_micro_batch: int  # 0: not even one sample
    hours: float


@dataclass(frozen=True)
class Estimate:
    """The whole estimate."""

    settings: Train
    micro_batch_size: int
    parts: Sequence[Part]
    memory: Memory
    epoch: Epoch
    num_epochs: float  # less than train.num_epochs if train.max_steps ends it
    num_updates: int
    flops: Mapping[str, float]  # of the whole training, by part
    fits: Sequence[Fit]


def estimate(params: Params, mfu: float, *, has_index: bool) -> Estimate:
    """Estimate the training of `params` at an MFU; the rows are those of the index, or the published ones.

    Raises:
        ModelError: the sizes of the language model are unknown, or its tokenizer can't be loaded.
        StaleError: the index or a shard is damaged, or the catalogue is missing.
        ValidationError: there are no training rows.
    """
    settings = params.train
    epoch = read_epoch(settings) if has_index else _add_cards(params)
    if not epoch.samples:
        raise ValidationError(f"{INDEX if has_index else paths.CATALOGUE}: no training rows to estimate")
    model = sizes.build(settings)
    images = epoch.images / epoch.tokens
    texts = 1 - images * encoders.count_patches(settings.vision)

    def measure(micro: int) -> Memory:
        """Learned positions, which need logits, are at most all positions without image slots."""
        tokens = micro * settings.max_tokens
        return sizes.find_memory(model, settings, tokens, tokens * images, tokens * texts)

    def most(gpu: Gpu) -> int:
        memory = measure(1)
        return max(0, (gpu.memory_bytes - memory.fixed) // (memory.total - memory.fixed))

    if settings.micro_batch_size == "auto":
        micro = min(settings.batch_size, max(1, most(GPUS[1])))
    else:
        micro = settings.micro_batch_size
    memory = measure(micro)
    num_updates = math.ceil(epoch.samples * settings.num_epochs / settings.batch_size)
    num_updates = max(1, min(num_updates, settings.max_steps or num_updates))
    num_epochs = num_updates * settings.batch_size / epoch.samples
    length = epoch.tokens / epoch.samples
    flops = sizes.count_flops(model, settings, epoch.tokens * num_epochs, epoch.images * num_epochs, length)
    fits = [
        Fit(
            gpu,
            is_fitting=memory.total <= gpu.memory_bytes,
            max_micro_batch=most(gpu),
            hours=sum(flops.values()) / (gpu.peaks[settings.precision] * 1e12 * mfu * 3600),
        )
        for gpu in GPUS
    ]
    return Estimate(settings, micro, sizes.list_parts(model), memory, epoch, num_epochs, num_updates, flops, fits)


def read_epoch(settings: Train) -> Epoch:
    """Sum the training rows of data/mix; tokens from the lengths in the index and the characters of a token."""
    index = read_index()
    rows = index.filter(pc.equal(index["role"], Role.TRAIN.value))
    chars_of_token, how = _measure_chars(rows, settings)
    return sum_rows(rows, settings, chars_of_token, f"{INDEX}, {chars_of_token:.1f} characters a token ({how})")


def sum_rows(rows: pa.Table, settings: Train, chars_of_token: float, origin: str) -> Epoch:
    """Sum rows of the index by weight."""
    weights, images, chars = (
        rows[name].to_numpy().astype(np.float64) for name in ("weight", "num_images", "num_chars")
    )
    images = images * settings.with_images
    slots = images * encoders.count_patches(settings.vision)
    tokens = np.minimum(slots + chars / chars_of_token, settings.max_tokens)
    return Epoch(origin, float(weights.sum()), float(weights @ images), float(weights @ tokens))


def _measure_chars(rows: pa.Table, settings: Train) -> tuple[float, str]:
    """Return the characters of a token, the chat template included, and how they were found."""
    found = tokenizer.find(settings.language, is_offline=True)
    if found is None or not len(rows):
        return CHARS_OF_TOKEN, "assumed: no tokenizer yet"
    random = np.random.default_rng(0)
    drawn = rows.take(np.sort(random.permutation(len(rows))[:NUM_ENCODED]))
    patches, num_tokens = encoders.count_patches(settings.vision), 0
    for sample in ShardStore(paths.SAMPLES).take(drawn, with_images=False):
        encoded = encode(sample, found, patches, settings.max_tokens)
        num_tokens += len(encoded.ids) + encoded.num_cut - len(sample.images) * patches
    return pc.sum(drawn["num_chars"]).as_py() / max(1, num_tokens), f"measured on {len(drawn)} rows"


def _add_cards(params: Params) -> Epoch:
    """Sum the published row counts of the sources; one image a row, except of text."""
    cards = [
        card
        for card in catalogue.read(paths.CATALOGUE).values()
        if card.kind == "source" and card.id not in params.download.skip
        if not refuse_card(card, params.policy.licences)
    ]
    patches, settings = encoders.count_patches(params.train.vision), params.train
    samples = images = tokens = 0.0
    for card in cards:
        roles = {**card.roles, **params.mix.roles.get(card.id, {})}
        num_published = sum(num for split, num in card.published_rows.items() if roles.get(split) is Role.TRAIN)
        num_rows = num_published * card.samples_per_row * params.mix.weights.get(card.id, 1.0)
        num_images = int(settings.with_images and card.modality != "text")
        samples += num_rows
        images += num_rows * num_images
        tokens += num_rows * min(settings.max_tokens, num_images * patches + TEXT_TOKENS[card.task])
    return Epoch(f"published row counts of {len(cards)} datasets, assumed lengths of texts", samples, images, tokens)
