"""The generated miniature of OmniMedVQA."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from openmedq.datasets.omnimedvqa import ARCHIVE, TOP, card
from openmedq.synthetic.draw import ORGANS, POSITIONS, Figure, draw, draw_figures, encode_png, generator, shared_figure
from openmedq.synthetic.files import save, to_zip

_MODALITIES = {  # by dataset; the first three have open access
    "ACRIMA": "Fundus Photography",
    "Chest CT Scan": "CT(Computed Tomography)",
    "RadImageNet": "MR (Mag-netic Resonance Imaging)",
    "3D Modality": "MR (Mag-netic Resonance Imaging)",
}
_OPEN = ("ACRIMA", "Chest CT Scan", "RadImageNet")
_NUM_IMAGES = 16  # per dataset


class _Property(NamedTuple):
    """A question about a figure."""

    question_type: str
    question: str
    options: tuple[str, ...]


_PROPERTIES = {
    "organ": _Property("Anatomy Identification", "Which organ is shown?", ORGANS),
    "position": _Property("Other Biological Attributes", "Where is the mass?", POSITIONS),
    "size": _Property("Lesion Grading", "Is the mass large?", ("Yes", "No")),
}


def write(raw: Path, seed: int = 0) -> None:
    """Write `OmniMedVQA.zip`: three open datasets with 16 images and 48 questions each, and a restricted one."""
    random = generator(seed, card.id)
    figures = draw_figures(seed, card.id, num_rounds=1)
    files: dict[str, bytes] = {}
    for index, (dataset, modality_type) in enumerate(_MODALITIES.items()):
        shown = figures[index * _NUM_IMAGES : (index + 1) * _NUM_IMAGES]
        if dataset == "ACRIMA":
            shown[0] = shared_figure(seed)
        folder = f"Images/{dataset}" + ("/MR/brain" if dataset == "RadImageNet" else "")
        paths = [f"{folder}/Im{number:03}.png" for number in range(len(shown))]  # the same names in each dataset
        questions = [
            _question(dataset, modality_type, figure, path, name, random)
            for figure, path in zip(shown, paths, strict=True)
            for name in _PROPERTIES
        ]
        if dataset in _OPEN:
            files |= {path: encode_png(draw(figure)) for path, figure in zip(paths, shown, strict=True)}
        if dataset == "Chest CT Scan":
            _add_oddities(questions)
            files["Images/Chest CT Scan/blank.png"] = encode_png(np.full((8, 8), 128, np.uint8))
        for number, question in enumerate(questions):
            question["question_id"] = f"{dataset}_{number:04}"
        access = "Open-access" if dataset in _OPEN else "Restricted-access"
        files[f"QA_information/{access}/{dataset}.json"] = json.dumps(questions, indent=4).encode()
    save(raw / ARCHIVE, to_zip({f"{TOP}/{name}": data for name, data in sorted(files.items())}))


def _question(
    dataset: str, modality_type: str, figure: Figure, path: str, name: str, random: np.random.Generator
) -> dict[str, Any]:
    asked = _PROPERTIES[name]
    answer = {"organ": figure.organ, "position": figure.position, "size": "Yes" if figure.is_large else "No"}[name]
    options = [asked.options[place] for place in random.permutation(len(asked.options))]
    return {
        "dataset": dataset,
        "question_id": "",  # numbered at the end
        "question_type": asked.question_type,
        "question": asked.question,
        "gt_answer": answer,
        "image_path": path,
        **{f"option_{letter}": option for letter, option in zip("ABCD", options, strict=False)},
        "modality_type": modality_type,
    }


def _add_oddities(questions: list[dict[str, Any]]) -> None:
    """Add the irregularities that the docstring of the reader lists."""
    for question in questions[:8]:
        question["gt_answer"] = question["gt_answer"].upper()
    for question in questions[8:16]:
        question["gt_answer"] += "."
    for question in questions[16:24]:
        question.setdefault("option_C", None)
        question.setdefault("option_D", "")
    for question in questions[24:27]:
        question["option_D"] = question["option_A"]
    for question in questions[30:33]:
        question["modality"] = question.pop("modality_type")
    questions[33]["image_path"] = "Images/Chest CT Scan/blank.png"
