"""Small datasets on disk, as `normalize` and `catalogue` write them, for tests of the stages that read them."""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from openmedq import paths
from openmedq.config import Params, parse
from openmedq.schema import SAMPLE_SCHEMA, Provenance, Reason, Rejected
from openmedq.storage.shards import write_rejected
from tests.storage.drawing import save

Row = dict[str, Any]


def picture(seed: int, *, flip_bits: int = 0, lighter: int = 0) -> Row:
    """An image drawn from a seed; `flip_bits` and `lighter` make a near copy with another hash and other pixels."""
    draw = np.random.default_rng(seed)
    thumbnail = draw.integers(0, 200, 1024).astype(np.uint8) + np.uint8(lighter)
    phash = int(draw.integers(0, 2**64, dtype=np.uint64)) ^ (2**flip_bits - 1)
    name = f"{seed}-{flip_bits}-{lighter}"
    pixels = hashlib.sha256(name.encode()).hexdigest()
    return {
        "image": {"bytes": save(PIL.Image.fromarray(thumbnail.reshape(32, 32)), "PNG"), "path": None},
        "image_id": name,
        "sha256": pixels,
        "pixels_sha256": pixels,
        "phash": phash,
        "thumbnail": thumbnail.tobytes(),
        "width": 64,
        "height": 48,
    }


def row(row_id: str, split: str, question: str, answer: str, *pictures: Row, **more: Any) -> Row:
    """A row of SAMPLE_SCHEMA; `options` and `context` belong to its turn, `more` replaces columns."""
    turn = {"question": question, "answer": answer, "context": "", "options": [], "alternatives": []}
    turn |= {key: more.pop(key) for key in ("options", "context") if key in more}
    return {
        "id": row_id,
        "source": row_id.split("/")[0],
        "split": split,
        "task": "vqa" if pictures else "text_qa",
        "modality": "radiology",
        "licence": "CC0-1.0",
        "provenance": {"file": "rows.json", "record": row_id},
        "turns": [turn],
        "images": list(pictures),
        "groups": dict.fromkeys(("patient", "study", "article", "case", "question")),
        "labels": [],
        "attributes": [],
        **more,
    }


ROLES = {"train": "train", "validation": "validation", "test": "evaluation"}


def write_sets(
    rows: Sequence[Row],
    cards: Mapping[str, Mapping[str, Any]],
    rows_a_shard: int = 4,
    rows_a_group: int = 2,
    rejected: Mapping[str, Mapping[str, int]] | None = None,
    origins: Mapping[str, str] | None = None,
) -> None:
    """Write the catalogue and the rows of its datasets below the current folder; one without rows is absent."""
    catalogue = {}
    for name, card in cards.items():
        own = [row for row in rows if row["source"] == name]
        reasons = dict((rejected or {}).get(name, {}))
        given = {"access": "open", "roles": ROLES, "title": name, "homepage": "https://example.org/", "citation": name}
        given |= {"licence": "CC0-1.0", "task": "vqa", "modality": "radiology", "files": [], "published_rows": {}}
        catalogue[name] = {"id": name, **given, **card}
        folder = paths.SAMPLES / name
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob("shard-*.parquet"):
            old.unlink()
        for number, start in enumerate(range(0, len(own), rows_a_shard)):
            table = pa.Table.from_pylist(own[start : start + rows_a_shard], schema=SAMPLE_SCHEMA)
            pq.write_table(
                table,
                folder / f"shard-{number:05}.parquet",
                row_group_size=rows_a_group,
                compression="zstd",
                write_page_checksum=True,
            )
        with write_rejected(folder) as add:
            for number, reason in enumerate(Reason(each) for each, size in reasons.items() for _ in range(size)):
                add(Rejected(f"{name}/rejected-{number}", name, "train", reason, "", Provenance("table.csv", "1")))
        counts = {
            "state": "present" if own or reasons else "absent",
            "origin": (origins or {}).get(name, "mirror"),
            "found": len(own) + sum(reasons.values()),
            "read": len(own),
            "rejected": reasons,
            "splits": dict(Counter(row["split"] for row in own)),
            "num_images": len({one["pixels_sha256"] for row in own for one in row["images"]}),
        }
        (folder / "counts.json").write_text(json.dumps(counts), encoding="utf-8")
    paths.CATALOGUE.parent.mkdir(exist_ok=True)
    Path("data/copies.csv").write_text("id_a,id_b,decision\n", encoding="utf-8")
    paths.CATALOGUE.write_text(yaml.safe_dump({"datasets": catalogue}, sort_keys=False), encoding="utf-8")


def make_params(**sections: Mapping[str, Any]) -> Params:
    """Params with the given sections, and small values for every required setting."""
    train = {
        "vision": {
            "encoder": "scratch",
            "weights": None,
            "image_size_px": 32,
            "patch_size_px": 8,
            "width": 8,
            "num_layers": 1,
            "num_heads": 1,
            "mean": [0.5] * 3,
            "std": [0.5] * 3,
        },
        "language": {"weights": None, "width": 8, "num_layers": 1, "num_heads": 1, "vocabulary_size": 320},
        "lora": {"alpha": 16, "targets": ["q_proj"]},
        "max_tokens": 8,
        "batch_size": 1,
        "micro_batch_size": 1,
        "num_epochs": 1,
        "lr": 1e-3,
    }
    transfer = {"benchmarks": [], "num_epochs": 1, "lr": 1e-3}
    tree = {"train": train, "evaluate": {"max_new_tokens": 4}, "transfer": transfer, **sections}
    return parse(tree, paths.PARAMS)
