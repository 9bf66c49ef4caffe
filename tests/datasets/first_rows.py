"""The first sample of each split and task of each miniature, whole, as recorded in `first_rows.jsonl`.

`python -m tests.datasets.first_rows` records them again. Images are compared by name, since codecs differ.
"""

import dataclasses
import json
import re
import tempfile
from pathlib import Path
from typing import Any

from openmedq import synthetic
from openmedq.schema import Sample
from tests.datasets.faults import SETS

PATH = Path(__file__).with_name("first_rows.jsonl")
_DIGEST = re.compile(r"[0-9a-f]{16}")  # images of the hub are named by their bytes


def summarize(dataset_id: str, raw: Path) -> list[dict[str, Any]]:
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for row in SETS[dataset_id].read(raw):
        if isinstance(row, Sample) and (row.split, row.task) not in found:
            names = ["a digest" if _DIGEST.fullmatch(image.image_id) else image.image_id for image in row.images]
            tree = dataclasses.asdict(row) | {"images": names}
            found[row.split, row.task] = json.loads(json.dumps(_without_empty(tree)))
    return list(found.values())


def read_golden() -> list[dict[str, Any]]:
    return [json.loads(line) for line in PATH.read_text(encoding="utf-8").splitlines()]


def _without_empty(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_empty(each) for key, each in value.items() if each not in ("", None, (), [], {})}
    return [_without_empty(each) for each in value] if isinstance(value, list | tuple) else value


def main() -> None:
    with PATH.open("w", encoding="utf-8") as file, tempfile.TemporaryDirectory() as folder:
        for dataset_id in sorted(SETS):
            synthetic.write(dataset_id, Path(folder, dataset_id), seed=0)
            for each in summarize(dataset_id, Path(folder, dataset_id)):
                file.write(json.dumps(each, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
