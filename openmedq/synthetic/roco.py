"""The generated miniature of ROCO."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from openmedq.datasets.roco.roco import FILES, card
from openmedq.synthetic.draw import (
    Figure,
    draw,
    draw_figures,
    encode_jpeg,
    generator,
    shared_figure,
    tint,
    with_shared_figure,
)
from openmedq.synthetic.files import join, save

_NUM_RECORDS = {
    ("train", "radiology"): 90,
    ("train", "non-radiology"): 10,
    ("validation", "radiology"): 18,
    ("validation", "non-radiology"): 4,
    ("test", "radiology"): 18,
    ("test", "non-radiology"): 4,
}
_FIRST_IDS = {"radiology": 1, "non-radiology": 81_826}
_LICENCES = ("CC BY", "CC BY-NC-SA", "CC BY", "CC BY-NC", "NO-CC CODE", "CC BY", "CC BY-NC-ND", "CC BY-ND", "CC0")
_CONCEPTS = {  # word of a caption -> CUI, semantic type
    "head": ("C0018670", "T029\tBody Location or Region"),
    "chest": ("C0817096", "T029\tBody Location or Region"),
    "abdomen": ("C0000726", "T029\tBody Location or Region"),
    "mass": ("C0577559", "T033\tFinding"),
    "clips": ("C0175722", "T074\tMedical Device"),
}


@dataclass(slots=True)
class _Record:
    number: int
    article: str
    name: str
    caption: str
    licence: str
    image: bytes  # empty if it is missing


def write(raw: Path, seed: int = 0) -> None:
    """Write the GitHub layout of ROCO: 145 records, the irregular ones among the first of each folder."""
    random = generator(seed, card.id)
    figures = with_shared_figure(draw_figures(seed, card.id, num_rounds=1), seed)
    figures.sort(key=lambda figure: figure != shared_figure(seed))
    articles = [f"PMC{number}" for number in random.choice(np.arange(1_000_000, 6_000_000), 90, replace=False)]
    ids = {subset: iter(first + random.permutation(6_000)) for subset, first in _FIRST_IDS.items()}

    records = {}
    for (split, subset), num_records in _NUM_RECORDS.items():
        numbers = sorted(int(next(ids[subset])) for _ in range(num_records))
        part = [_record(figures.pop(0), number, subset) for number in numbers]
        for index, record in enumerate(part):  # outside of train, a third of the articles are new
            is_new = split != "train" and index % 3 == 0
            record.article = articles.pop() if is_new else articles[int(random.integers(40))]
            record.name = f"{record.article}_{record.name}"
        records[split, subset] = part

    train, validation = records["train", "radiology"], records["validation", "radiology"]
    train[3].caption, train[4].caption, validation[2].caption = "CT.", "", "OPG"
    train[7].caption = train[6].caption
    train[9].caption = train[9].caption.replace("; ", ";\n")
    train[12].image = b""
    train[14].licence = ""
    twin = records["test", "non-radiology"][-1]
    records["test", "non-radiology"].append(replace(train[5], number=twin.number + 1))

    for (split, subset), part in records.items():
        _write(raw / "data" / split / subset, part, has_id_names=subset == "radiology")


def _record(figure: Figure, number: int, subset: str) -> _Record:
    size, level = "large" if figure.is_large else "small", "bright" if figure.is_bright else "dark"
    diameter = "" if number % 8 else f", Ø {28 if figure.is_large else 13} mm,"
    view = "Radiograph" if subset == "radiology" else "Photograph"
    caption = (
        f"{view} of the {figure.organ} showing a {size} mass{diameter} in the {figure.position}; {level} background, "
        f"clips: {figure.num_clips}."
    )
    pixels = draw(figure)
    image = encode_jpeg(pixels) if subset == "radiology" else encode_jpeg(tint(pixels, (1.0, 0.8, 0.7)), mode="RGB")
    return _Record(number, "", f"fig-{number % 40}-g{number}.jpg", caption, _LICENCES[number % len(_LICENCES)], image)


def _write(folder: Path, records: list[_Record], *, has_id_names: bool) -> None:
    lines: dict[str, list[str]] = {name: [] for name in FILES}
    lines["licences"].append("ROCO_ID,PMC_ID,CC")
    for record in records:
        record_id = f"ROCO_{record.number:05}"
        words = [word.strip(".,:;").lower() for word in record.caption.split()]
        concepts = [_CONCEPTS[word] for word in words if word in _CONCEPTS]
        package = f"ftp://ftp.ncbi.nlm.nih.gov/pub/pmc/oa_package/{record.number % 256:02x}/0a/{record.article}.tar.gz"
        lines["captions"].append(f"{record_id}\t {record.caption}")
        lines["keywords"].append("\t".join([record_id, "", *(word for word in words if len(word) > 3)]))
        lines["cuis"].append("\t".join([record_id, "", *(cui for cui, _ in concepts)]))
        lines["semtypes"].append("\t".join([record_id, "", *dict.fromkeys(kind for _, kind in concepts)]))
        lines["dlinks"].append(f"{record_id}\twget -r {package} -P /path/to/Dir\t{record.name.split('_')[1]}")
        if record.licence:
            lines["licences"].append(f"{record_id},{record.name},{record.licence}")
        if record.image:
            save(folder / "images" / (f"{record_id}.jpg" if has_id_names else record.name), record.image)
    for name, rows in lines.items():
        save(folder / f"{name}.txt", join(rows))
