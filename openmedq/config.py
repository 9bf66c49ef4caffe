"""The settings of params.yaml: one frozen section per stage.

A setting without a default must be given by each profile (`openmedq/conf/<profile>.yaml`).
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
Share = Annotated[float, Field(gt=0, lt=1)]
Count = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Licences = Literal["any", "research", "commercial", "redistributable"]
LanguageCode = Literal["en", "zh"]
LoraTarget = Literal["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]  # of a LLaMA


def _check_path(text: str) -> str:
    if b"\0" in os.fsencode(text):  # encoding itself raises a ValueError for lone surrogates
        raise ValueError("contains a character that is not allowed in paths")
    return text


def _check_encoder(name: str) -> str:
    names = sorted(path.stem for path in Path(__file__).with_name("model").glob("encoders/[!_]*.py"))
    if name in names:
        return name
    raise ValueError(f"unknown encoder; available: {', '.join(names)}")


PathText = Annotated[str, AfterValidator(_check_path)]
EncoderName = Annotated[str, AfterValidator(_check_encoder)]


class Section(BaseModel):
    """Frozen; unknown keys and numbers that are not finite are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Miniature(Section):
    """Generated datasets in the published layouts."""

    seed: int = Field(0, description="seed of images and answers")


class Download(Section):
    """Where the published files come from."""

    mirror: PathText = Field("data/miniature", description="local data folder: one subfolder per dataset")
    fetch: bool = Field(False, description="fetch files that the local data folder lacks from their official hosts")
    require: tuple[str, ...] = Field((), description="datasets that must be available, else an error")
    skip: tuple[str, ...] = Field((), description="datasets to leave out although they are available")
    editions: dict[str, str] = Field({}, description="dataset: published version; pmc_oa beta, pmc_vqa v2, roco v2")
    max_missing: Fraction = Field(0.01, description="allowed share of linked images that fail to download")


class Policy(Section):
    """Licences that are allowed in the mix and in exported weights."""

    licences: Licences = Field("any", description="any, research, commercial, redistributable")


class Normalize(Section):
    """Conversion of published records to Parquet rows."""

    max_side_px: Count = Field(768, description="images with a longer side are scaled down to it")
    max_pixels: Count = Field(100_000_000, description="images with more pixels are rejected without decoding")
    jpeg_quality: Annotated[int, Field(ge=1, le=100)] = Field(95, description="for images that must be encoded again")
    shard_size_bytes: Count = Field(256 * 2**20, description="a shard is closed when it reaches this size")
    row_group_size_bytes: Count = Field(
        2 * 2**20, description="size at which a row group is closed; small ones make random reads cheap"
    )
    row_group_rows: Count = Field(1024, description="maximum number of rows of a row group")
    languages: tuple[LanguageCode, ...] = Field(("en",), min_length=1, description="of questions; SLAKE: en and zh")
    allow_unofficial: bool = Field(False, description="read files whose checksum is not the publisher's (MedMNIST)")


class Deduplicate(Section):
    """Removal of duplicates; the copy in an evaluation split is kept."""

    hamming_radius: Annotated[int, Field(ge=0, le=8)] = Field(
        3, description="maximum number of differing bits of 64-bit image hashes"
    )
    thumbnail_distance: NonNegative = Field(
        6.0, description="maximum mean difference of gray levels between thumbnails"
    )
    keep_out: Literal["none", "cross_source", "all"] = Field(
        "cross_source",
        description="drop training rows with evaluation images: none, cross_source (of other datasets), all",
    )


class Mix(Section):
    """Roles and weights of the rows in the training mix."""

    roles: dict[str, dict[str, Role | None]] = Field(
        {}, description="source: {split: role or null}; default: the card's"
    )
    weights: dict[str, NonNegative] = Field({}, description="source: times that a row is drawn per epoch; default: 1")


class Validate(Section):
    """Expectations that the data must meet before training starts."""

    min_rows: Count = Field(1, description="minimum number of training rows in the mix")
    max_rejected: Fraction = Field(0.5, description="allowed share of rejected records, per dataset")
    min_published: Fraction = Field(0.5, description="minimum of found / published rows, of fetched datasets")
    max_published: Annotated[float, Field(ge=1)] = Field(2.0, description="maximum of found / published rows")
    min_side_px: Count = Field(8, description="images with a shorter side fail the validation")
    max_answer_chars: Count = Field(20_000, description="longer answers fail the validation")


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
    mean: tuple[float, float, float] = Field(description="per channel, of pixel values in [0, 1]")
    std: tuple[float, float, float]
    is_trained: bool = Field(True, description="false freezes the encoder")


class Language(Section):
    """The language model. The sizes are used only if `weights` is null."""

    weights: str | None = Field(description="folder or Hugging Face id; null: random weights and a new tokenizer")
    revision: str | None = Field(None, description="commit of the Hugging Face repository")
    licence: str | None = Field(None, description="licence of these weights; needed for an export")
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
    """Next-token training of the encoder, the projector and the adapters."""

    seed: int = 0
    vision: Vision
    language: Language
    lora: Lora
    max_tokens: Count = Field(description="maximum length of a sample, image slots included")
    batch_size: Count = Field(description="samples per update, over all devices")
    micro_batch_size: Count = Field(description="samples per forward pass, on one device")
    num_epochs: Positive
    max_steps: Count | None = Field(None, description="maximum number of updates")
    lr: Positive
    warmup: Fraction = Field(0.05, description="share of the updates in which the learning rate rises")
    weight_decay: NonNegative = 0.01
    max_grad_norm: Positive = 1.0
    blank_share: Fraction = Field(0.0, description="blank-image augmentation: share of images replaced by gray")
    contrastive_weight: NonNegative = Field(
        0.0, description="weight of the contrastive loss; 0: only next-token cross-entropy"
    )
    precision: Literal["fp32", "bf16"] = "fp32"


class Evaluate(Section):
    """Greedy answers to the evaluation splits, and their scores."""

    max_new_tokens: Count
    batch_size: Count = 32
    max_rows: Count | None = Field(None, description="maximum number of rows per source, drawn with `seed`; null: all")
    seed: int = 0
    num_resamples: Count = Field(1000, description="number of bootstrap resamples")
    confidence: Share = 0.95


class Transfer(Section):
    """Fine-tuning of the encoder and a linear head on classification datasets."""

    benchmarks: tuple[str, ...]
    seeds: tuple[int, ...] = (0,)
    num_epochs: Count
    max_rows: Count | None = Field(None, description="maximum number of training rows per dataset; null: all")
    batch_size: Count = 32
    lr: Positive
    threshold: Share = Field(0.5, description="minimum probability of a predicted class, for multi-label datasets")
    num_parts: Annotated[int, Field(ge=2)] = Field(
        5, description="parts of a dataset without published splits; one part is the test split"
    )
    division_seed: int = Field(0, description="seed of the division into parts")
    num_resamples: Count = 1000
    confidence: Share = 0.95


class Report(Section):
    """A page with scores, intervals and the waterfall."""

    num_examples: Annotated[int, Field(ge=0)] = Field(12, description="number of predictions, from open sources only")


class Execution(Section):
    """How the stages run. No stage depends on these settings: they must not change an output."""

    workers: Count = Field(1, description="number of processes that decode images")
    device: Literal["auto", "cpu", "cuda"] = "auto"
    connections: Count = Field(4, description="number of parallel downloads")
    attempts: Count = Field(6, description="attempts per file without progress, before its download fails")
    backoff_s: Positive = Field(1.0, description="first wait between attempts; doubles, with jitter")
    timeout_s: Positive = Field(60.0, description="wait for data before a connection is closed")
    endpoints: dict[str, str] = Field({}, description="host: base URL to use in its place")


class Params(Section):
    """All sections of params.yaml."""

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
    """Validate a YAML tree; ParamsError if a value is not allowed."""
    try:
        return Params.model_validate(tree)
    except ValidationError as error:
        raise ParamsError(f"{where}: {_first_problem(error)}") from None


def load(path: Path) -> Params:
    """Read `params.yaml`."""
    return parse(read_yaml(path), path)


def profile(folder: Path, name: str) -> Params:
    """Read `<folder>/<name>.yaml`, with defaults."""
    known = sorted(path.stem for path in folder.glob("*.yaml"))
    if name not in known:
        raise ParamsError(f"{name}: unknown profile; available: {', '.join(known)}")
    return load(folder / f"{name}.yaml")


def read_yaml(path: Path) -> Any:
    """Read one YAML document; ParamsError if the file is missing or is not YAML."""
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ParamsError(f"{path}: not found; write it with `python -m openmedq profile miniature`") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # invalid dates, too deep nesting
        raise ParamsError(f"{path}: not YAML: {' '.join(str(error).split())}") from None


def _first_problem(error: ValidationError) -> str:
    """Describe the first problem in one line, and count the others."""
    problems = error.errors(include_url=False, include_context=True)
    first = problems[0]
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        text = f"{where}: unknown key; allowed here: {', '.join(_allowed(first['loc'][:-1]))}"
    elif first["type"] == "missing":
        text = f"{where}: missing; `python -m openmedq profile miniature` writes a complete file"
    else:
        text = f"{where}: {first['msg'].removeprefix('Value error, ')}"
        if first["loc"][:2] != ("execution", "endpoints"):  # URLs may contain a password
            text += f", not {first['input']!r}"
    return text if len(problems) == 1 else f"{text} (and {len(problems) - 1} more)"


def _allowed(location: tuple[int | str, ...]) -> list[str]:
    section: type[BaseModel] = Params
    for part in location:
        section = next(info.annotation for name, info in section.model_fields.items() if (info.alias or name) == part)  # type: ignore[assignment]
    return [info.alias or name for name, info in section.model_fields.items()]
