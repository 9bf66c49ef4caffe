"""Params: every dial, one frozen section per stage. `openmedq.__main__` reads and writes `params.yaml`.

The demo's page, a process of its own, reads it too; nothing else does.

A dial without a default is one that a profile decides (`openmedq/conf/<profile>.yaml`).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from openmedq.errors import ParamsError
from openmedq.schema import Role

Fraction = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(gt=0)]
Licences = Literal["any", "research", "commercial", "redistributable"]
LanguageCode = Literal["en", "zh"]
LoraTarget = Literal["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]  # of a LLaMA


def _check_path(text: str) -> str:
    if b"\0" in os.fsencode(text):  # which is a ValueError too where it can't be encoded
        raise ValueError("holds what no path can")
    return text


def _check_encoder(name: str) -> str:
    folder = Path(__file__).parent / "model" / "encoders"
    names = sorted(path.stem for path in folder.glob("*.py") if not path.stem.startswith("_"))
    if name not in names:
        raise ValueError(f"no such encoder; there are {', '.join(names)}")
    return name


PathText = Annotated[str, AfterValidator(_check_path)]


class Section(BaseModel):
    """Frozen, and closed: an unknown key is an error. Every number is finite."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Miniature(Section):
    """Generated sets in each source's own layout."""

    seed: int = Field(0, description="draws the pictures and picks the answers")


class Download(Section):
    """Where the published files come from."""

    mirror: PathText = Field("data/miniature", description="folder of native layouts, one sub-folder a set")
    fetch: bool = Field(False, description="what the mirror lacks comes from its official place, over the network")
    require: tuple[str, ...] = Field((), description="sets whose absence is an error")
    skip: tuple[str, ...] = Field((), description="sets to leave out, though they could be had")
    editions: dict[str, str] = Field({}, description="set: another published version; pmc_oa beta, pmc_vqa v2, roco v2")
    max_missing: Fraction = Field(0.01, description="share of linked pictures that may fail for now")


class Policy(Section):
    """Whose licences may enter the mix, and leave with the weights."""

    licences: Licences = Field("any", description="any, research, commercial, redistributable")


class Normalize(Section):
    """From published records to Parquet rows."""

    max_side_px: Count = Field(768, description="longer pictures are scaled down to this side")
    max_pixels: Count = Field(100_000_000, description="pictures with more pixels are rejected undecoded")
    jpeg_quality: Annotated[int, Field(ge=1, le=100)] = Field(95, description="for pictures that must be re-encoded")
    shard_size_bytes: Count = Field(256 * 2**20, description="a shard is closed when it has grown to this")
    row_group_size_bytes: Count = Field(2 * 2**20, description="small groups make random reads cheap")
    row_group_rows: Count = Field(1024, description="upper bound for rows without pictures")
    languages: tuple[LanguageCode, ...] = Field(
        ("en",), min_length=1, description="of questions, where a set has several: SLAKE has en and zh"
    )
    allow_unofficial: bool = Field(False, description="read files whose checksum is not the publisher's (MedMNIST)")


class Deduplicate(Section):
    """One of several copies stays; an evaluation split always wins."""

    hamming_radius: Annotated[int, Field(ge=0, le=8)] = Field(3, description="bits between perceptual hashes, of 64")
    thumbnail_distance: Annotated[float, Field(ge=0)] = Field(6.0, description="mean gray levels between thumbnails")
    keep_out: Literal["none", "cross_source", "all"] = Field(
        "cross_source",
        description="training rows that show an evaluation picture: keep, drop if of another set, drop all",
    )


class Mix(Section):
    """What enters the training mix, as what, and how often."""

    roles: dict[str, dict[str, Role | None]] = Field(
        {}, description="source: {split: role or null}, in place of the card's role"
    )
    weights: dict[str, Annotated[float, Field(ge=0)]] = Field({}, description="source: visits an epoch, 1 unless said")


class Validate(Section):
    """What must hold of the data before training may start."""

    min_rows: Count = Field(1, description="training rows of the whole mix")
    max_rejected: Fraction = Field(0.5, description="share of a present source's records that may be rejected")
    min_published: Fraction = Field(0.5, description="found of a fetched source, as a multiple of the published rows")
    max_published: Annotated[float, Field(ge=1)] = Field(2.0, description="the same, at most")
    min_side_px: Count = Field(8, description="pictures with a shorter side are red")
    max_answer_chars: Count = Field(20_000)


class Vision(Section):
    """The image encoder."""

    encoder: Annotated[str, AfterValidator(_check_encoder)] = Field(
        description="name of a module in openmedq/model/encoders"
    )
    weights: str | None = Field(description="folder or hub id; null: from scratch")
    revision: str | None = Field(None, description="commit of the hub repository")
    licence: str | None = Field(None, description="of these weights; an export asks for it")
    image_size_px: Count
    patch_size_px: Count
    width: Count
    num_layers: Count
    num_heads: Count
    mean: tuple[float, float, float] = Field(description="of the pixels in [0, 1], per channel")
    std: tuple[float, float, float]
    is_trained: bool = Field(True, description="false freezes the encoder")


class Language(Section):
    """The language model. Its sizes matter only where `weights` is null."""

    weights: str | None = Field(description="folder or hub id of a LLaMA; null: from scratch, with a new tokenizer")
    revision: str | None = Field(None, description="commit of the hub repository")
    licence: str | None = Field(None, description="of these weights; an export asks for it")
    width: Count | None = None
    num_layers: Count | None = None
    num_heads: Count | None = None
    vocabulary_size: Count | None = None


class Lora(Section):
    """Low-rank adapters on the language model (Hu et al., 2021)."""

    rank: Count = 8
    alpha: Count
    dropout: Fraction = 0.0
    targets: tuple[LoraTarget, ...] = Field(min_length=1, description="names of the language model's linear layers")


class Train(Section):
    """Next-token training of encoder, projector and adapters."""

    seed: int = 0
    vision: Vision
    language: Language
    lora: Lora
    max_tokens: Count = Field(description="a sample's length, image slots included")
    batch_size: Count = Field(description="samples an update, over all devices")
    micro_batch_size: Count = Field(description="samples a forward pass, on one device")
    num_epochs: Annotated[float, Field(gt=0)]
    max_steps: Count | None = Field(None, description="stop after so many updates")
    lr: Annotated[float, Field(gt=0)]
    warmup: Fraction = Field(0.05, description="share of the updates")
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    max_grad_norm: Annotated[float, Field(gt=0)] = 1.0
    blank_share: Fraction = Field(0.0, description="pictures shown as an empty field, to learn what can be said unseen")
    contrastive_weight: Annotated[float, Field(ge=0)] = Field(0.0, description="0: next-token cross-entropy alone")
    precision: Literal["fp32", "bf16"] = "fp32"


class Evaluate(Section):
    """Greedy answers to the evaluation splits, and their scores."""

    max_new_tokens: Count
    batch_size: Count = 32
    max_rows: Count | None = Field(None, description="at most so many rows a source, drawn with `seed`; null: all")
    seed: int = 0
    num_resamples: Count = Field(1000, description="of the bootstrap")
    confidence: Annotated[float, Field(gt=0, lt=1)] = 0.95


class Transfer(Section):
    """Encoder and linear head, fine-tuned on classification sets."""

    benchmarks: tuple[str, ...]
    seeds: tuple[int, ...] = (0,)
    num_epochs: Count
    max_rows: Count | None = Field(None, description="training rows a set at most, drawn with the seed; null: all")
    batch_size: Count = 32
    lr: Annotated[float, Field(gt=0)]
    threshold: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.5, description="of a class's probability, where a row may have several"
    )
    num_parts: Annotated[int, Field(ge=2)] = Field(5, description="one is scored, of sets without a published split")
    division_seed: int = Field(0, description="of that division")
    num_resamples: Count = 1000
    confidence: Annotated[float, Field(gt=0, lt=1)] = 0.95


class Report(Section):
    """One page with scores, intervals and the waterfall."""

    num_examples: Annotated[int, Field(ge=0)] = Field(12, description="predictions shown, from open sources only")


class Execution(Section):
    """How the work is run. Tracked by no stage: nothing here may change a byte."""

    workers: Count = Field(1, description="processes that decode pictures")
    device: Literal["auto", "cpu", "cuda"] = "auto"
    connections: Count = Field(4, description="files fetched at once")
    attempts: Count = Field(6, description="at a file, one after the other without progress, before it is given up")
    backoff_s: Seconds = Field(1.0, description="first wait between attempts; it doubles, with jitter")
    timeout_s: Seconds = Field(60.0, description="without a byte, before a connection is given up")
    endpoints: dict[str, str] = Field({}, description="host: base URL that answers in its place, one a line")


class Params(Section):
    """The whole of params.yaml."""

    miniature: Miniature = Miniature()
    download: Download = Download()
    policy: Policy = Policy()
    normalize: Normalize = Normalize()
    deduplicate: Deduplicate = Deduplicate()
    mix: Mix = Mix()
    validate_: Validate = Field(Validate(), alias="validate")
    train: Train
    evaluate: Evaluate
    transfer: Transfer
    report: Report = Report()
    execution: Execution = Execution()


def parse(tree: Any, where: Path) -> Params:
    """The params that a YAML tree says; ParamsError in one line where it says something that is not allowed."""
    try:
        return Params.model_validate(tree)
    except ValidationError as error:
        raise ParamsError(f"{where}: {_first_problem(error)}") from None


def load(path: Path) -> Params:
    """Read `params.yaml`."""
    return parse(read_yaml(path), path)


def profile(folder: Path, name: str) -> Params:
    """The params of `conf/<name>.yaml`, defaults filled in."""
    known = sorted(path.stem for path in folder.glob("*.yaml"))
    if name not in known:
        raise ParamsError(f"{name}: no such profile; there are {', '.join(known)}")
    return load(folder / f"{name}.yaml")


def read_yaml(path: Path) -> Any:
    """One YAML document; ParamsError where it is missing or is not YAML."""
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ParamsError(f"{path}: not found; write it with `python -m openmedq profile miniature`") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # of a date that is none, of lists in lists
        raise ParamsError(f"{path}: not YAML: {' '.join(str(error).split())}") from None


def _first_problem(error: ValidationError) -> str:
    """What is wrong, where, and what is allowed; the other problems are counted."""
    problems = error.errors(include_url=False, include_context=True)
    first = problems[0]
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        text = f"{where}: unknown key; allowed here: {', '.join(_allowed(first['loc'][:-1]))}"
    elif first["type"] == "missing":
        text = f"{where}: missing; `python -m openmedq profile miniature` writes a complete file"
    else:
        is_shown = first["loc"][:2] != ("execution", "endpoints")  # they may hold a password
        what = first["msg"].removeprefix("Value error, ")
        text = f"{where}: {what}, not {first['input']!r}" if is_shown else f"{where}: {what}"
    return text if len(problems) == 1 else f"{text} (and {len(problems) - 1} more)"


def _allowed(location: tuple[int | str, ...]) -> list[str]:
    section: type[BaseModel] = Params
    for part in location:
        section = next(info.annotation for name, info in section.model_fields.items() if (info.alias or name) == part)  # type: ignore[assignment]
    return [info.alias or name for name, info in section.model_fields.items()]
