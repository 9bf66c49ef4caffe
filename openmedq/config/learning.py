"""The sections of training and evaluation, and how the stages run."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from openmedq.config.base import (
    Count,
    Distinct,
    EncoderName,
    Fraction,
    LoraTarget,
    NonNegative,
    Parallel,
    Part,
    Positive,
    Rate,
    Resamples,
    Section,
    Seed,
    Share,
    Size,
)

WITHOUT_EFFECT = ("checkpoint_minutes", "select")  # settings of Train that change no update
ROUNDING = ("activation_checkpointing", "compile", "deterministic", "liger", "micro_batch_size")  # change rounding
OURS, SCRATCH = "ours", "scratch"  # the encoders of transfer without weights of others

Control = Literal["blank", "shuffled", "no_image"]  # see evaluation/controls.py

EncoderKey = Annotated[str, Field(pattern=r"^[a-z0-9_-]+$")]  # part of file names and of DVC's node names

PARTS = "encoder, projector, adapters, embeddings"


class Vision(Section):
    """The image encoder."""

    encoder: EncoderName = Field(description="name of a module in openmedq/model/encoders")
    weights: str | None = Field(description="folder or Hugging Face id; null: random weights")
    revision: str | None = Field(None, description="commit of the Hugging Face repository")
    licence: str | None = Field(None, description="licence of these weights; needed for an export")
    image_size_px: Count
    patch_size_px: Count
    width: Count
    num_layers: Count
    num_heads: Count
    resample: Literal["bilinear", "bicubic"] = Field("bicubic", description="filter that resizes images")
    mean: tuple[float, float, float] = Field(description="per channel, of pixel values in [0, 1]")
    std: tuple[Positive, Positive, Positive]
    is_trained: bool = Field(True, description="false freezes the encoder")

    @model_validator(mode="after")
    def _check(self) -> Vision:
        for name, divisor in (("image_size_px", "patch_size_px"), ("width", "num_heads")):
            value, unit = getattr(self, name), getattr(self, divisor)
            if value % unit:
                raise ValueError(f"{name}, {value}, is not a multiple of {divisor}, {unit}; change one of them")
        return self


class Language(Section):
    """The language model. The sizes are used if `weights` is null; else by `estimate`, if it finds no config."""

    weights: str | None = Field(description="folder or Hugging Face id; null: random weights and a new tokenizer")
    revision: str | None = Field(None, description="commit of the Hugging Face repository")
    licence: str | None = Field(None, description="licence of these weights; needed for an export")
    width: Count | None = None
    num_layers: Count | None = None
    num_heads: Count | None = None
    vocabulary_size: Count | None = None

    @model_validator(mode="after")
    def _check(self) -> Language:
        for name in ("width", "num_layers", "num_heads", "vocabulary_size"):
            if self.weights is None and getattr(self, name) is None:
                raise ValueError(f"{name} is null; set a number, because weights is null")
        if self.width and self.num_heads and self.width % (2 * self.num_heads):
            raise ValueError(
                f"width, {self.width}, is not an even multiple of num_heads, {self.num_heads}; change one of them"
            )
        return self


class Lora(Section):
    """Low-rank adapters on the language model (Hu et al., 2021)."""

    rank: Count = 8
    alpha: Count
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    targets: Distinct[LoraTarget] = Field(min_length=1, description="names of the language model's linear layers")


class Train(Section):
    """Training of the encoder, the projector and the adapters."""

    seed: Seed = 0
    vision: Vision
    language: Language
    lora: Lora
    max_tokens: Count = Field(description="maximum length of a sample, image slots included")
    batch_size: Count = Field(description="samples per update, over all devices")
    micro_batch_size: Count | Literal["auto"] = Field(
        description="samples of `max_tokens` per forward pass, more of shorter ones; auto: as a GPU's memory allows"
    )
    num_epochs: Annotated[Positive, Field(le=1e6)]
    max_steps: Count | None = Field(None, description="maximum number of updates")
    lr: Rate
    lr_of: dict[Part, Rate] = Field({}, description="part: learning rate in place of `lr`; " + PARTS)
    warmup: Fraction = Field(0.05, description="share of the updates in which the learning rate rises")
    align_steps: Size = Field(0, description="updates at the start that train the projector alone (LLaVA's alignment)")
    weight_decay: NonNegative = 0.01
    weight_decay_of: dict[Part, NonNegative] = Field({}, description="part: decay in place of `weight_decay`")
    max_grad_norm: Positive = 1.0
    with_images: bool = Field(True, description="false: from the questions alone, also in evaluation; a baseline")
    blank_share: Fraction = Field(0.0, description="blank-image augmentation: share of samples shown gray images")
    next_token_weight: NonNegative = Field(1.0, description="weight of the next-token cross-entropy")
    contrastive_weight: NonNegative = Field(0.0, description="weight of the contrastive loss; 0: not computed")
    precision: Literal["fp32", "bf16"] = Field(
        "fp32", description="also of transfer; bf16: what trains keeps fp32 weights"
    )
    deterministic: bool = Field(True, description="deterministic kernels on a GPU; a CPU is always deterministic")
    activation_checkpointing: bool = Field(False, description="compute activations twice, to save memory")
    compile: bool = Field(False, description="fuse the layers with torch.compile")
    liger: bool = Field(False, description="Liger's fused kernels; needs a GPU and the package liger-kernel")
    checkpoint_minutes: Positive = Field(30.0, description="time between checkpoints; one more after each epoch")
    validate_every: Count | None = Field(None, description="updates between validations; null: at the end only")
    validate_rows: Count = Field(512, description="validation rows of a validation, at most")
    patience: Count | None = Field(None, description="validations without a lower loss before training stops early")
    select: Literal["last", "best"] = Field(
        "last", description="weights to save: last, or of the lowest validation loss"
    )

    @model_validator(mode="after")
    def _check(self) -> Train:
        if not self.next_token_weight and not (self.contrastive_weight and self.with_images):
            raise ValueError(
                "next_token_weight is 0, and so is contrastive_weight, or with_images is false; nothing would train; "
                "set next_token_weight to 1"
            )
        if self.validate_every is None and (self.patience is not None or self.select == "best"):
            name = "select: best" if self.patience is None else "patience"
            raise ValueError(f"{name} needs validations during the training; set validate_every to a number of updates")
        if self.max_steps is not None and self.align_steps >= self.max_steps:
            raise ValueError(f"align_steps, {self.align_steps}, is not less than max_steps, {self.max_steps}")
        return self


def identify(train: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings, of a `Train` as a dict, on which a checkpoint of the training depends.

    A licence of weights may be stated after the training, for an export.
    """
    left_out = {*WITHOUT_EFFECT, *ROUNDING}
    if train.get("contrastive_weight"):
        left_out.remove("micro_batch_size")  # the negative pairs are those of one micro batch
    kept = {name: value for name, value in train.items() if name not in left_out}
    for name in {"vision", "language"} & kept.keys():
        kept[name] = {key: value for key, value in kept[name].items() if key != "licence"}
    return kept


class Evaluate(Section):
    """Greedy answers to the evaluation splits, and their scores."""

    max_new_tokens: Count = Field(description="maximum length of an answer, in tokens")
    batch_size: Count = Field(32, description="rows of maximum length per forward pass, more of shorter ones")
    max_rows: Count | None = Field(None, description="maximum number of rows per source, drawn with `seed`; null: all")
    controls: Distinct[Control] = Field(
        ("blank", "shuffled", "no_image"), description="also answer with gray images, other images, without images"
    )
    control_rows: Count | None = Field(1000, description="maximum number of rows per source and control; null: all")
    zero_shot_rows: Size | None = Field(
        None, description="maximum number of test rows per benchmark to classify zero-shot; null: all, 0: none"
    )
    seed: Seed = 0
    num_resamples: Resamples = Field(1000, description="number of bootstrap resamples")
    confidence: Share = 0.95


def _check_encoders(encoders: dict[str, Encoder]) -> dict[str, Encoder]:
    for name, encoder in encoders.items():
        if (encoder.weights is None) != (name in (OURS, SCRATCH)):
            state = "needs weights: a folder, a file or a Hugging Face id" if encoder.weights is None else "has its own"
            raise ValueError(f"{name}: {state}")
    if OURS in encoders and encoders[OURS].depends != "data/model":
        raise ValueError(f"{OURS}: depends must be data/model")
    return encoders


class Encoder(Section):
    """An image encoder that transfer compares."""

    depends: str = "data/mix"  # a further dependency of its DVC node; data/mix: none, because all depend on it
    weights: str | None = None  # folder, file or Hugging Face id
    revision: str | None = None  # commit of the Hugging Face repository
    licence: str | None = None  # of these weights


class Transfer(Section):
    """Fine-tuning of the encoder and a linear head on classification datasets."""

    encoders: Annotated[dict[EncoderKey, Encoder], AfterValidator(_check_encoders)] = Field(
        {OURS: Encoder(depends="data/model"), SCRATCH: Encoder()},
        min_length=1,
        description="name: its weights; ours: the trained encoder; scratch: random weights",
    )
    benchmarks: Distinct[str]
    image_size_px: Count | None = Field(None, description="side of the images; null: the encoder's own")
    seeds: Distinct[Seed] = Field((0,), min_length=1)
    num_epochs: Count
    max_rows: Count | None = Field(
        None, description="maximum number of training rows, and of validation rows, per dataset; null: all"
    )
    batch_size: Count = 32
    lr: Rate
    threshold: Share = Field(0.5, description="minimum probability of a predicted class, for multi-label datasets")
    num_parts: Annotated[Count, Field(ge=2)] = Field(
        5, description="parts of a dataset without published splits; one part is the test split"
    )
    num_validation_parts: Annotated[Count, Field(ge=2)] = Field(
        5, description="parts of the training rows without a published validation split; one part picks the best epoch"
    )
    division_seed: Seed = Field(0, description="seed of the division into parts")
    num_resamples: Resamples = 1000
    confidence: Share = 0.95


class Report(Section):
    """A page with scores, intervals and the waterfall."""

    num_examples: Size = Field(12, description="number of predictions, from open sources only")


def _check_address(address: str) -> str:
    if not re.fullmatch(r"(tcp|tls)://[^\s/@]+:\d{1,5}", address):
        raise ValueError("must be tcp://HOST:PORT or tls://HOST:PORT")
    return address


class Execution(Section):
    """How the stages run. No stage depends on these settings: they must not change an output."""

    workers: Parallel = Field(1, description="number of processes that decode images and compare texts")
    scheduler: Annotated[str, AfterValidator(_check_address)] | None = Field(
        None, description="of a Dask cluster that does this work, as tcp://HOST:8786; null: this machine"
    )
    device: Literal["auto", "cpu", "cuda"] = "auto"
    devices: Literal["auto"] | Parallel = Field(
        "auto", description="processes of training and evaluation; auto: one per GPU"
    )
    sharding: Literal["ddp", "fsdp"] = Field(
        "ddp", description="of several devices: ddp copies the model, fsdp divides it"
    )
    connections: Parallel = Field(4, description="number of parallel downloads")
    attempts: Count = Field(6, description="attempts per file without progress, before its download fails")
    backoff_s: Positive = Field(1.0, description="first wait between attempts; doubles, with jitter")
    timeout_s: Positive = Field(60.0, description="wait for data before a connection is closed")
    endpoints: dict[str, str] = Field({}, description="host: base URL to use in its place")
