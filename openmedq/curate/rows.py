"""What the duplicate decisions need to know about the rows, as arrays."""

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from openmedq.curate.links import Link, Numbers, Pairs
from openmedq.curate.overrides import Override

EVALUATION, VALIDATION, TRAIN = range(3)  # ranks of roles: of two copies, the lower rank is kept


@dataclass(frozen=True)
class Rows:
    """The R rows of all datasets that have a role, and their S images, one entry per row and image."""

    ids: pa.Array  # (R,) string
    datasets: Numbers  # (R,) position of the row's dataset in the catalogue
    ranks: Numbers  # (R,) EVALUATION, VALIDATION or TRAIN
    texts: Numbers  # (R,) number of the text key
    shown_by: Numbers  # (S,) row, ascending
    pixels: Numbers  # (S,) number of the decoded pixels
    looks: Numbers  # (S,) number of the perceptual hash and thumbnail
    pairs: Sequence[Pairs] = ()  # looks that are alike
    links: Sequence[Link] = ()  # by names (`identity`) and of near texts of rows without images
    overrides: Sequence[Override] = ()
