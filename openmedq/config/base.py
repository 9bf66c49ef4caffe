"""The base class of all sections, and the types of their settings."""

from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, field_validator

Fraction = Annotated[float, Field(ge=0, le=1)]
Share = Annotated[float, Field(gt=0, lt=1)]
Count = Annotated[int, Field(ge=1, lt=2**63)]  # an int64, as in Arrow and torch
Size = Annotated[int, Field(ge=0, lt=2**63)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]  # of every generator: numpy's, torch's
Parallel = Annotated[int, Field(ge=1, le=1024)]  # processes or connections that are started at once
Resamples = Annotated[int, Field(ge=1, le=1_000_000)]  # of a bootstrap: their scores are in memory at once
Positive = Annotated[float, Field(gt=0)]
Rate = Annotated[float, Field(ge=1e-12)]  # of learning: a smaller one changes no fp32 weight
NonNegative = Annotated[float, Field(ge=0)]
Licences = Literal["any", "research", "commercial", "redistributable"]
LanguageCode = Literal["en", "zh"]
Part = Literal["encoder", "projector", "adapters", "embeddings"]  # of the model that can be trained
LoraTarget = Literal["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]  # of a LLaMA


def _check_distinct(values: tuple[object, ...]) -> tuple[object, ...]:
    if len(set(values)) < len(values):
        raise ValueError("a value is listed twice")
    return values


def _check_encoder(name: str) -> str:
    names = sorted(path.stem for path in Path(__file__).parents[1].glob("model/encoders/[!_]*.py"))
    if name in names:
        return name
    raise ValueError(f"unknown encoder; available: {', '.join(names)}")


_T = TypeVar("_T")
Distinct = Annotated[tuple[_T, ...], AfterValidator(_check_distinct)]
EncoderName = Annotated[str, AfterValidator(_check_encoder)]


class Section(BaseModel):
    """Frozen; unknown keys, numbers that are not finite, and `true` for a number are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _refuse_switch(cls, value: Any, info: ValidationInfo) -> Any:
        """Pydantic takes `true` for 1, and YAML `yes` and `on` for `true`."""
        if isinstance(value, bool) and cls.model_fields[info.field_name or ""].annotation is not bool:
            raise ValueError("Input should be a value other than true and false")
        return value
