"""The generated miniature of μ-Bench (u-Bench, Micro-Bench)."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from openmedq.datasets.ubench import FOLDER, NONE, SHARDS, card
from openmedq.synthetic.draw import (
    POSITIONS,
    Figure,
    draw,
    draw_figures,
    draw_uuid,
    encode_png,
    generator,
    shared_figure,
)
from openmedq.synthetic.files import save

_ENTRY = [("id", pa.string()), ("name", pa.string()), ("question", pa.string()), ("options", pa.list_(pa.string()))]
_QUESTION = pa.struct([("answer", pa.string()), ("answer_idx", pa.int64()), *_ENTRY, ("tags", pa.list_(pa.string()))])
_CAPTION = pa.struct([*_ENTRY, ("answer_idx", pa.string()), ("tags", pa.list_(pa.string()))])
_TEXTS = ("domain", "institution", "license", "modality", "ncbitaxon_id", "ncbitaxon_name", "pmid", "split", "stain")
_SCHEMA = pa.schema(
    [
        ("image_id", pa.string()),
        ("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
        ("label", pa.int64()),
        ("label_name", pa.string()),
        ("dataset", pa.string()),
        *((name, pa.string()) for name in (*_TEXTS, "subdomain", "submodality")),
        ("microns_per_pixel", pa.float32()),
        ("synthetic", pa.bool_()),
        (
            "captions",
            pa.struct([(f"{name}_{place}", _CAPTION) for name in ("classification", "modality") for place in (0, 1)]),
        ),
        ("questions", pa.struct([(name, _QUESTION) for name in ("classification", "modality", "stain")])),
        ("bbox", pa.list_(pa.list_(pa.float32()))),
        ("polygon", pa.list_(pa.list_(pa.list_(pa.float32())))),
    ]
)
_MODALITIES = ("fluorescence microscopy", "light microscopy")  # dark and bright fields
_STAINS = ("DAPI", "Giemsa")
_ASKED = {  # name -> question, template of its captions, choices
    "classification": ("Where is the mass?", "A micrograph with a mass in the {class}.", POSITIONS),
    "modality": (
        "What is the most likely microscopy modality used to acquire this image?",
        "A micrograph acquired through {class}.",
        (*_MODALITIES, "electron microscopy"),
    ),
    "stain": ("What is the most likely technique used to stain this micrograph?", "", (*_STAINS, "H&E")),
}
_NUM_ROWS = 3  # per shard


def write(raw: Path, seed: int = 0) -> None:
    """Write seven shards of three images each, with 2 or 3 questions and 2 to 4 captions about each image."""
    random = generator(seed, card.id)
    figures = draw_figures(seed, card.id, num_rounds=1)[: len(SHARDS) * _NUM_ROWS]
    figures[4], figures[8] = shared_figure(seed), figures[7]
    rows = [_row(figure, number, random) for number, figure in enumerate(figures)]
    rows[8] |= {name: rows[7][name] for name in ("image_id", "image")} | {"dataset": "burgess_et_al_2024_texture"}
    rows[10] |= {"dataset": None, "pmid": None}
    rows[13] |= {"license": "CC-BY-NC-4.0", "synthetic": True, "ncbitaxon_name": "synthetic", "pmid": None}
    rows[14]["label"] = 3 - rows[14]["label"]
    folder = raw / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(SHARDS):
        table = pa.Table.from_pylist(rows[number * _NUM_ROWS : (number + 1) * _NUM_ROWS], _SCHEMA)
        with pa.OSFile(str(folder / name), "wb") as sink, pa.ipc.new_stream(sink, _SCHEMA) as writer:
            writer.write_table(table)
    num_bytes = sum(len(row["image"]["bytes"]) for row in rows)
    info = {"license": card.licence, "splits": {"test": {"num_bytes": num_bytes, "num_examples": len(rows)}}}
    save(folder / "dataset_info.json", json.dumps(info))


def _row(figure: Figure, number: int, random: np.random.Generator) -> dict[str, Any]:
    modality, stain = _MODALITIES[figure.is_bright], _STAINS[figure.is_bright]
    captions: dict[str, Any] = {}
    questions: dict[str, Any] = {}
    for name, answer in (("classification", figure.position), ("modality", modality), ("stain", stain)):
        question, template, choices = _ASKED[name]
        options = [choices[index] for index in random.permutation(len(choices))]
        index = options.index(answer)
        entry = {"id": draw_uuid(random), "name": name, "tags": None, "answer_idx": index}
        questions[name] = entry | {"question": question, "options": [*options, NONE], "answer": answer}
        for wording in [template, template.replace("A micrograph", "A microscopy image")] if template else []:
            filled = [wording.replace("{class}", option) for option in options]
            caption = {"question": wording, "options": [*filled, NONE], "answer_idx": str(index)}
            captions[f"{name}_{len(captions) % 2}"] = entry | caption
    if number % 3 == 1:  # a dataset without these entries
        del questions["stain"], captions["modality_1"]
    return {
        "image_id": draw_uuid(random),
        "image": {"bytes": encode_png(draw(figure)), "path": None},
        "label": POSITIONS.index(figure.position),
        "label_name": figure.position.replace(" ", "_"),
        "dataset": "acevedo_et_al_2020",
        "domain": "pathology",
        "institution": "hosp_barcelona",
        "license": "CC-BY-4.0",
        "modality": modality,
        "ncbitaxon_id": "NCBITaxon_9606",
        "ncbitaxon_name": "Homo sapiens",
        "pmid": "32346559",
        "split": "test",
        "stain": stain,
        "subdomain": "hematopathology",
        "submodality": "brightfield microscopy" if figure.is_bright else "widefield microscopy",
        "microns_per_pixel": 0.1,
        "synthetic": False,
        "captions": captions,
        "questions": questions,
        "bbox": [[10.0, 10.0, 30.0, 30.0]] * 2 if number == 5 else None,
        "polygon": [[[10.0, 10.0], [30.0, 10.0], [30.0, 30.0]]] * 2 if number == 5 else None,
    }
