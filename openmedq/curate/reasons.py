"""The words of duplicate decisions: why a row is excluded, and what it shares with another row."""

from enum import StrEnum

import pyarrow as pa

from openmedq import paths


class DuplicateReason(StrEnum):
    """Why a row is not in the mix; `kept_id` is the id of the row that is kept instead."""

    DUPLICATE_EXACT = "duplicate exact"  # same text, same decoded pixels (or no images)
    DUPLICATE_PERCEPTUAL = "duplicate perceptual"  # same text, images that look the same
    IN_EVALUATION = "in evaluation"  # an exact, perceptual or near copy of an evaluation row
    EVALUATION_IMAGE = "evaluation image"  # an image of an evaluation row, with another text


class Tier(StrEnum):
    """What two rows share, the strongest first."""

    PERSON = "decision of a person"  # deduplicate.overrides
    SAME_PIXELS = "same pixels"  # the decoded pixels are equal
    SAME_LOOK = "same look"  # encoded again, or scaled
    NEAR_IMAGE = "near image"  # cropped, turned, annotated ...; verified on the pixels
    SAME_FIGURE = "same figure"  # of an article, perhaps another panel of it
    SAME_NAME = "same name"  # of an image in the archive that two datasets draw from
    SAME_TEXT = "same text"  # no row has an image
    NEAR_TEXT = "near text"  # no row has an image, or their images are copies
    SAME_QUESTION = "same question"  # the dataset links its paraphrases
    # Counted, but no reason to exclude a row:
    SAME_SERIES = "same series"  # neighboring slices
    SAME_STUDY = "same study"
    SAME_PATIENT = "same patient"
    SAME_CASE = "same case"
    SAME_ARTICLE = "same article"


PAIR_TABLE = paths.VERDICTS / "pairs.parquet"
PAIR_SCHEMA = pa.schema(
    [
        *(pa.field(name, pa.string(), False) for name in ("training_id", "evaluation_id", "tier")),
        pa.field("evidence", pa.float32()),  # how alike what they share is, 0 to 1; null where it is equal
        pa.field("is_kept", pa.bool_(), False),  # whether the training row is trained on
    ]
)
