"""The generated miniature of SLAKE."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from openmedq.datasets.slake import card
from openmedq.synthetic.draw import Figure, draw, draw_figures, encode_jpeg, generator, shared_figure
from openmedq.synthetic.files import save, to_zip

_NUM_IMAGES = {"train": 36, "validation": 8, "test": 12}
_PLACES = {"head": ("MRI", "Brain"), "chest": ("X-Ray", "Lung"), "abdomen": ("CT", "Abdomen")}
_TREATMENTS = {"head": "Surgery", "chest": "Quit smoking, medical treatment", "abdomen": "Drink water"}
_CHINESE = {
    "Head": "头部",
    "Chest": "胸部",
    "Abdomen": "腹部",
    "Yes": "是的",
    "No": "不是",
    "Left": "左边",
    "Right": "右边",
    "Which organ is shown?": "图中显示哪个器官?",
    "Is the mass large?": "肿块很大吗?",
    "Is the mass on the left or on the right?": "肿块在左边还是右边?",
    "How to treat the disease in this image?": "如何治疗图中的疾病?",
}


def write(raw: Path, seed: int = 0) -> None:
    """Write the Hugging Face layout: 56 images with two or three questions in each language."""
    random = generator(seed, card.id)
    figures = iter([shared_figure(seed), *draw_figures(seed, card.id, num_rounds=1)])
    numbers = iter(random.permutation(np.arange(1, 643)))
    rows: dict[str, list[dict[str, Any]]] = {}
    members: dict[str, bytes] = {}
    for split, num_images in _NUM_IMAGES.items():
        rows[split] = []
        for index in range(num_images):
            number, figure = int(next(numbers)), next(figures)
            rows[split] += [row for language in ("en", "zh") for row in _ask(number, figure, index, language)]
            members[f"imgs/xmlab{number}/source.jpg"] = encode_jpeg(draw(figure))
    rows["train"] += [dict(row) for row in rows["train"][:4]]
    rows["train"].append({**rows["train"][0], "answer": ""})

    for qid, row in enumerate(row for split in rows.values() for row in split):
        row["qid"] = qid
    for split, records in rows.items():
        save(raw / f"{split}.json", json.dumps(records, ensure_ascii=False))  # on one line, as published
    save(raw / "imgs.zip", to_zip(members))


def _ask(number: int, figure: Figure, index: int, language: str) -> Iterator[dict[str, Any]]:
    """The rows of one image in one language."""
    modality, location = _PLACES[figure.organ]
    asked = [("Organ", "OPEN", "Which organ is shown?", figure.organ.capitalize())]
    if index % 2:
        asked.append(("Size", "CLOSED", "Is the mass large?", "Yes" if figure.is_large else "No"))
    else:
        side = figure.position.split()[1].capitalize()
        asked.append(("Position", "CLOSED", "Is the mass on the left or on the right?", side))
    if index % 4 == 3:
        asked.append(("KG", "OPEN", "How to treat the disease in this image?", _TREATMENTS[figure.organ]))
    for content_type, answer_type, question, answer in asked:
        yield {
            "img_id": number,
            "img_name": f"xmlab{number}/source.jpg",
            "question": question if language == "en" else _CHINESE[question],
            "answer": answer if language == "en" else _CHINESE.get(answer, "手术"),
            "q_lang": language,
            "location": location,
            "modality": modality,
            "answer_type": answer_type,
            "base_type": "kvqa" if content_type == "KG" else "vqa",
            "content_type": content_type,
            "triple": ["vhead", "treat", "ktail"] if content_type == "KG" else ["vhead", "_", "_"],
            "qid": 0,  # numbered at the end
        }
