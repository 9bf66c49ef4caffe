"""The generated miniature of MedFMC-chest, also ChestDR."""

from pathlib import Path

from openmedq.datasets.medfmc import reader
from openmedq.datasets.medfmc.chest import CLASSES, LAYOUT, card
from openmedq.synthetic import medfmc
from openmedq.synthetic.draw import POSITIONS, Figure, draw, draw_figures, encode_png, generator


def write(raw: Path, seed: int = 0) -> None:
    """Write 120 figures: a head has no finding, other organs have frequent findings, an abdomen also a rare one."""
    random = generator(seed, card.id, "names")
    figures = draw_figures(seed, card.id, 1)
    rare = [figure for figure in figures if _is_rare(figure)]
    rest = [figure for figure in figures if not _is_rare(figure)]
    fitted = [figure for figure in rare if (_combination(figure) + figure.num_clips) % 2]  # one of two per class
    splits = {
        "trainval": [*fitted, *rest[:44]],
        "test_WithLabel": [*(figure for figure in rare if figure not in fitted), *rest[44:68]],
        "test_WithoutLabel": rest[68:86],
        reader.UNLISTED: rest[86:88],
    }
    cases: list[medfmc.Case] = []
    for split, members in splits.items():
        for index in random.permutation(len(members)):
            name = f"5{random.integers(16**14):014X}.png"
            if len(cases) % 4 == 0:
                name = f"DX.1.2.840.113619.2.369.4.{random.integers(10**9)}.{random.integers(10**6)}.0.png"
            labels = tuple(int(found) for found in _find(members[index]))
            cases.append(medfmc.Case(name, split, labels, encode_png(draw(members[index]))))
    medfmc.write(raw, card, LAYOUT, cases, separator=",")


def _find(figure: Figure) -> list[bool]:
    """Return for each class whether a figure shows it."""
    found = [False] * len(CLASSES)
    if figure.organ == "head":
        return found
    frequent = {
        "pleural_effusion": figure.is_bright,
        "nodule": figure.position == "upper left",
        "pneumonia": figure.position == "lower right",
        "cardiomegaly": figure.is_large,
        "hilar_enlargement": figure.num_clips == 3,
    }
    for name, is_found in frequent.items():
        found[CLASSES.index(name)] = is_found
    if _is_rare(figure) and len(frequent) + _combination(figure) < len(CLASSES):
        found[len(frequent) + _combination(figure)] = True
    return found


def _is_rare(figure: Figure) -> bool:
    return figure.organ == "abdomen" and figure.num_clips > 1


def _combination(figure: Figure) -> int:
    return 4 * POSITIONS.index(figure.position) + 2 * figure.is_large + figure.is_bright
