"""What the rows of a dataset must be like, beyond its card; a dataset without promises is held to its card alone.

Values are the publishers', and wide enough for the generated miniatures.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Promises:
    """Promises of one dataset; None: no promise."""

    answers: tuple[str, ...] | None = None  # every answer is one of them
    yes_share: tuple[float, float] | None = None  # of the answers that are yes or no, in any case
    sides_px: tuple[int, int] | None = None  # width and height of the published images, in px
    modes: tuple[str, ...] | None = None  # Pillow's: L is gray
    max_foreign: float = 0.01  # share of rows with Chinese, Japanese, Korean, Cyrillic or Arabic letters


_SIZES = (28, 224)  # of MedMNIST: 28, 64, 128 or 224

PROMISES = {
    "pubmedqa": Promises(answers=("yes", "no", "maybe"), yes_share=(0.4, 0.97)),  # 93 % of the artificial part is yes
    "vqa_rad": Promises(yes_share=(0.35, 0.65)),
    "slake": Promises(yes_share=(0.25, 0.75), max_foreign=1.0),  # half of it is Chinese, see normalize.languages
    "pathvqa": Promises(yes_share=(0.3, 0.7)),
    "vqa_med_2019": Promises(yes_share=(0.2, 0.8)),
    "blood_mnist": Promises(sides_px=_SIZES, modes=("RGB",)),
    "retina_mnist": Promises(sides_px=_SIZES, modes=("RGB",)),
    "pneumonia_mnist": Promises(sides_px=_SIZES, modes=("L",)),
}
