"""The generated miniature of MedFMC-endo."""

from pathlib import Path

from openmedq.datasets.medfmc import reader
from openmedq.datasets.medfmc.endo import LAYOUT, card
from openmedq.synthetic import medfmc
from openmedq.synthetic.draw import Figure, draw, draw_figures, encode_png, generator, tint

_SIZES = {"trainval": 65, "test_WithLabel": 37, "test_WithoutLabel": 16, reader.UNLISTED: 2}
_NUM_PER_STUDY = 7


def write(raw: Path, seed: int = 0) -> None:
    """Write 120 red figures: a head has no lesion, other organs have one per property; three clips are a tumor."""
    random = generator(seed, card.id, "names")
    figures = draw_figures(seed, card.id, 2)
    cases: list[medfmc.Case] = []
    study = ""
    for split, size in _SIZES.items():
        for number in range(size):
            is_scored = split == "test_WithLabel"
            index = next(index for index, figure in enumerate(figures) if not (is_scored and _has_tumor(figure)))
            figure = figures.pop(index)
            if number % _NUM_PER_STUDY == 0 and (number or split != "test_WithoutLabel"):  # one study is in both tests
                study = f"13333_{2020 + len(cases) // 70}.{random.integers(1, 13):02}_{len(cases):04}"
            name = f"{study}_{44_000_000 + random.integers(10**7)}.png"
            image = encode_png(tint(draw(figure), (1.0, 0.55, 0.45)))
            cases.append(medfmc.Case(name, split, _find(figure), image))
    medfmc.write(raw, card, LAYOUT, cases, separator=" ")


def _find(figure: Figure) -> tuple[int, ...]:
    """Return 1 for each class that a figure shows."""
    if figure.organ == "head":
        return (0, 0, 0, 0)
    is_polyp = figure.position in ("upper left", "lower right")
    return (int(figure.is_large), int(figure.is_bright), int(is_polyp), int(_has_tumor(figure)))


def _has_tumor(figure: Figure) -> bool:
    return figure.organ != "head" and figure.num_clips == 3
