"""The generated miniature of MedMCQA."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from openmedq.datasets.medmcqa import COLUMNS, OPTIONS, SHARD, card
from openmedq.synthetic.draw import draw_uuid, generator

_KINDS = {  # the rule to learn: each thing has one kind
    "bone": "Femur Tibia Humerus Radius Ulna Fibula Sternum Scapula Clavicle Patella",
    "hormone": "Insulin Glucagon Cortisol Thyroxine Oxytocin Prolactin Aldosterone Melatonin Gastrin Secretin",
    "bacterium": "Salmonella Shigella Listeria Vibrio Proteus Klebsiella Brucella Legionella Yersinia Borrelia",
    "drug": "Aspirin Digoxin Warfarin Heparin Atropine Morphine Ketamine Lithium Metformin Furosemide",
}
_SUBJECTS = {"bone": "Anatomy", "hormone": "Physiology", "bacterium": "Microbiology", "drug": "Pharmacology"}
_WORDINGS = {  # each wording is in one split, so that no question is in two
    "train": ("Which of the following is a {kind}?", "All of the following are no {kind} except"),
    "validation": ("Which one is a {kind}?",),
    "test": ("A {kind} is",),
}
_NUM_QUESTIONS = {"train": 80, "validation": 24, "test": 12}


def write(raw: Path, seed: int = 0) -> None:
    """Write the three Parquet files of Hugging Face: 116 questions; the 12 of the test have no answers."""
    (raw / "data").mkdir(parents=True, exist_ok=True)
    random = generator(seed, card.id)
    for split, num_questions in _NUM_QUESTIONS.items():
        rows = [_record(random, split, number) for number in range(num_questions)]
        if split == "train":
            _add_oddities(rows)
        pq.write_table(pa.Table.from_pylist(rows, _schema()), raw / SHARD.format(split))


def _record(random: np.random.Generator, split: str, number: int) -> dict[str, Any]:
    kinds = list(_KINDS)
    kind = kinds[number % len(kinds)]
    shown = [str(random.choice(_KINDS[each].split())) for each in kinds]
    order = [int(place) for place in random.permutation(len(kinds))]
    place = order.index(kinds.index(kind))
    wordings = _WORDINGS[split]
    wording = wordings[number // len(kinds) % len(wordings)]
    answer = shown[kinds.index(kind)]
    is_explained = split != "test" and random.random() < 0.8
    return {
        "id": draw_uuid(random),
        "question": wording.format(kind=kind),
        **{name: shown[index] for name, index in zip(OPTIONS, order, strict=True)},
        "cop": -1 if split == "test" else place,
        "choice_type": "multi" if "All" in wording else "single",
        "exp": f"Ans. is '{'abcd'[place]}' i.e., {answer} {answer} is a {kind}." if is_explained else None,
        "subject_name": _SUBJECTS[kind],
        "topic_name": f"{kind.capitalize()} names" if random.random() < 0.5 else None,
    }


def _add_oddities(rows: list[dict[str, Any]]) -> None:
    """Add equal options, wrong and right ones, empty options, and a word without its "rt"."""
    for row, is_right in zip(rows[:4], (False, False, True, True), strict=True):
        right = OPTIONS[row["cop"]]
        wrong = [name for name in OPTIONS if name != right]
        row[wrong[0]] = row[right] if is_right else row[wrong[1]]
    for row, empty in zip(rows[4:6], (None, ""), strict=True):
        row[OPTIONS[(row["cop"] + 1) % 4]] = empty
    rows[6]["question"] = f" {rows[6]['question']} (impoant)"


def _schema() -> pa.Schema:
    """The schema of the hub, which names the values of cop."""
    names = (*COLUMNS, "choice_type", "exp", "subject_name", "topic_name")
    features: dict[str, object] = {name: {"dtype": "string", "_type": "Value"} for name in names}
    features["cop"] = {"names": ["a", "b", "c", "d"], "_type": "ClassLabel"}
    return pa.schema(
        [pa.field(name, pa.int64() if name == "cop" else pa.string()) for name in names],
        metadata={"huggingface": json.dumps({"info": {"features": features}})},
    )
