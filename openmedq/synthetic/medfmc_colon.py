"""The generated miniature of MedFMC-colon, also ColonPath."""

from pathlib import Path

from openmedq.datasets.medfmc import reader
from openmedq.datasets.medfmc.colon import LAYOUT, card
from openmedq.synthetic import medfmc
from openmedq.synthetic.draw import draw, draw_figures, encode_png, generator, tint

_SIZES = {"trainval": (40, 24), "test_WithLabel": (26, 12), "test_WithoutLabel": (9, 7), reader.UNLISTED: (1, 1)}
_NUM_SCANS = 9
_NUM_PER_REGION = 4


def write(raw: Path, seed: int = 0) -> None:
    """Write 120 pink figures; a large mass is a tumor. Scans are in several splits, regions in one."""
    random = generator(seed, card.id, "names")
    figures = draw_figures(seed, card.id, 2)
    by_label = [[figure for figure in figures if figure.is_large == label] for label in (False, True)]
    scans = []
    for number in range(_NUM_SCANS):
        time = f"2019-05-{number + 10} {random.integers(24):02}_{random.integers(60):02}_{random.integers(60):02}"
        case = (f"2019-{random.integers(10**5):05}-1-1-1_", f"D2017{random.integers(10**7):07}_", "")[number % 3]
        scans.append(case + time)
    cases: list[medfmc.Case] = []
    for split, sizes in _SIZES.items():
        region = ""
        for number, label in enumerate(random.permutation([0] * sizes[0] + [1] * sizes[1]).tolist()):
            if number % _NUM_PER_REGION == 0:
                x, y, width, height = (int(value) for value in random.integers(1_000, 40_000, 4))
                region = f"{scans[len(cases) // _NUM_PER_REGION % _NUM_SCANS]}-lv1-{x}-{y}-{width}-{height}"
            image = encode_png(tint(draw(by_label[label].pop()), (1.0, 0.7, 0.85)))
            cases.append(medfmc.Case(f"{region}p{number:04}.png", split, (label,), image))
    medfmc.write(raw, card, LAYOUT, cases, separator=" ")
