"""ROCOv2, the second version of ROCO: radiology only (Rückert et al., 2024).

Source: https://zenodo.org/records/10821435 (first record: 8333645)

`{train,valid,test}_captions.csv` (ID, Caption); `*_images.zip`, packed or unpacked; `*_concepts.csv` (ID, CUIs
separated by semicolons); `license_information.csv` (ID, PMCID, Attribution, Link) of all splits. Not read:
`*_concepts_manual.csv`, and `cui_mapping.csv`, which has the names of the concepts.
"""

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from openmedq.datasets.card import Card, File
from openmedq.datasets.fields import Unusable, join_texts, keep, list_absent, take_optional_text
from openmedq.datasets.licences import spell
from openmedq.datasets.readers.tables import Row, stream_table
from openmedq.datasets.roco.captions import Described, read_captions, table_beside
from openmedq.schema import Rejected, Sample
from openmedq.storage.lookup import open_images

_ZENODO = "https://zenodo.org/records/10821435/files"
_PREFIXES = {"train": "train", "validation": "valid", "test": "test"}

FILES = tuple(
    File(path=name, url=f"{_ZENODO}/{name}?download=1")
    for name in (
        *(
            f"{prefix}_{part}"
            for prefix in _PREFIXES.values()
            for part in ("images.zip", "captions.csv", "concepts.csv")
        ),
        "license_information.csv",
    )
)


def name_table(split: str) -> str:
    """The name of a split's caption file."""
    return f"{_PREFIXES[split]}_captions.csv"


def find_tables(folder: Path) -> dict[str, Path]:
    """The caption files in a folder by split, with ROCO's names of the splits."""
    paths = {split: folder / name_table(split) for split in _PREFIXES}
    return {split: path for split, path in paths.items() if path.is_file()}


def read_tables(raw: Path, folder: Path, card: Card) -> Iterator[Sample | Rejected]:
    """Stream the records of the caption files in `folder`, which is `raw` or a folder below it."""
    seen: dict[str, str] = {}  # 80,000 ids
    licences = table_beside(folder / "license_information.csv", "ID", "Attribution")
    for split, path in find_tables(folder).items():
        prefix = _PREFIXES[split]
        concepts_path = folder / f"{prefix}_concepts.csv"
        concepts = table_beside(concepts_path, "ID", "CUIs")
        with open_images(folder, f"{prefix}_images", prefix, f"{prefix}_images.zip") as images:
            yield from read_captions(
                card,
                _stream(path),
                split=split,
                modality="radiology",
                raw=raw,
                path=path,
                images=images,
                describe=partial(_describe, concepts, licences, card.licence),
                seen=seen,
            )
        absent = [record_id for record_id in concepts if record_id not in seen]
        yield from list_absent(card, absent, split=split, raw=raw, path=concepts_path)


def _stream(path: Path) -> Iterator[tuple[str, Row | Unusable]]:
    for line, row in stream_table(path, ("ID", "Caption")):
        yield line, row if isinstance(row, Unusable) else {"id": row["ID"], "caption": row["Caption"]}


def _describe(concepts: dict[str, Row], licences: dict[str, Row], unknown: str, record_id: str) -> Described:
    cuis = take_optional_text(concepts.get(record_id, {}), "CUIs")
    row = licences.get(record_id, {})
    attribution = take_optional_text(row, "Attribution")
    article = re.search(r"\d+", take_optional_text(row, "PMCID"))
    return Described(
        names=(f"{record_id}.jpg",),
        licence=spell(attribution.partition("[")[0]) or unknown,  # CC BY [Doe et al. (2021)]
        article=f"PMC{article[0]}" if article else "",
        attributes=keep(
            attribution=attribution, link=take_optional_text(row, "Link"), cuis=join_texts(cuis.split(";"))
        ),
    )
