"""The sections of the data stages."""

import re
from typing import Annotated, Literal

from pydantic import Field, field_validator

from openmedq.config.base import Count, Distinct, Fraction, LanguageCode, Licences, NonNegative, Section, Seed
from openmedq.schema import Role


class Miniature(Section):
    """Generated datasets in the published layouts."""

    seed: Seed = Field(0, description="seed of images and answers")


class Download(Section):
    """Where the published files come from."""

    mirror: str = Field("data/miniature", description="local data folder: one subfolder per dataset")
    remote: str | None = Field(
        None, description="URL for fsspec, as s3://BUCKET/FOLDER, of files that `openmedq locate` copies to `mirror`"
    )
    fetch: bool = Field(False, description="fetch files that the local data folder lacks from their official hosts")
    require: Distinct[str] = Field((), description="datasets that must be available, else an error")
    skip: Distinct[str] = Field((), description="datasets to leave out although they are available")
    editions: dict[str, str] = Field({}, description="dataset: published version; pmc_oa beta, pmc_vqa v2, roco v2")
    max_missing: Fraction = Field(0.01, description="allowed share of linked images that fail to download")

    @field_validator("mirror", "remote")
    @classmethod
    def _refuse_secrets(cls, place: str | None) -> str | None:
        """Refuse each `@` of a URL, because a secret key may contain a slash, as AWS's do."""
        if re.search("://.*[@?#]", place or ""):
            raise ValueError("remove user, password and query; put credentials into the environment")
        return place


class Policy(Section):
    """Licences that are allowed in the mix and in exported weights."""

    licences: Licences = Field("any", description="any, research, commercial, redistributable")


class Normalize(Section):
    """Conversion of published records to Parquet rows."""

    max_side_px: Count = Field(768, description="images with a longer side are scaled down to it")
    max_pixels: Count = Field(100_000_000, description="images with more pixels are rejected without decoding")
    jpeg_quality: Annotated[int, Field(ge=1, le=100)] = Field(95, description="for images that must be encoded again")
    shard_size_bytes: Annotated[Count, Field(ge=1024)] = Field(
        256 * 2**20, description="a shard is closed when it reaches this size"
    )
    row_group_size_bytes: Count = Field(
        2 * 2**20, description="size at which a row group is closed; small ones make random reads cheap"
    )
    row_group_rows: Count = Field(1024, description="maximum number of rows of a row group")
    languages: Distinct[LanguageCode] = Field(("en",), min_length=1, description="of questions; SLAKE: en and zh")
    dicom_frame: Literal["reject", "first", "middle"] = Field(
        "reject", description="frame that represents a DICOM file with several frames: first, middle; reject: none"
    )
    allow_unofficial: bool = Field(False, description="read files whose checksum is not the publisher's (MedMNIST)")


class Deduplicate(Section):
    """Removal of duplicates; the copy in an evaluation split is kept."""

    hamming_radius: Annotated[int, Field(ge=0, le=8)] = Field(
        3, description="maximum number of differing bits of 64-bit image hashes"
    )
    thumbnail_distance: Annotated[float, Field(ge=0, le=255)] = Field(
        6.0, description="maximum mean difference of gray levels between thumbnails"
    )
    keep_out: Literal["none", "cross_source", "all"] = Field(
        "cross_source",
        description="drop training rows with evaluation images: none, cross_source (of other datasets), all",
    )
    near_images: bool = Field(
        True, description="search training images for edited copies of evaluation images: crops, rotations, panels ..."
    )
    overrides: str = Field(
        "data/copies.csv", description="decisions of persons, which overrule: id_a,id_b,decision (copy or different)"
    )


class Mix(Section):
    """Roles and weights of the rows in the training mix."""

    roles: dict[str, dict[str, Role | None]] = Field(
        {}, description="source: {split: role or null}; default: the card's"
    )
    weights: dict[str, Annotated[NonNegative, Field(le=1e6)]] = Field(
        {}, description="source: times that a row is drawn per epoch; default: 1"
    )


class Validate(Section):
    """Expectations that the data must meet before training starts."""

    min_rows: Count = Field(1, description="minimum number of training rows in the mix")
    max_rejected: Fraction = Field(0.5, description="allowed share of rejected records, per dataset")
    min_published: Fraction = Field(0.5, description="minimum of found / published rows, of fetched datasets")
    max_published: Annotated[float, Field(ge=1)] = Field(2.0, description="maximum of found / published rows")
    min_side_px: Count = Field(8, description="images with a shorter side fail the validation")
    max_answer_chars: Count = Field(20_000, description="longer answers fail the validation")
