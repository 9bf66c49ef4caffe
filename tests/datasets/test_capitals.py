"""Suffixes of images and archives may be in capitals, as some programs write them."""

import shutil
from pathlib import Path

import pytest

from openmedq import synthetic
from openmedq.datasets import registry
from openmedq.schema import Sample


def _read(dataset_id: str, raw: Path) -> dict[str, object]:
    items = registry.load(dataset_id).read(raw)
    return {item.id: (item.turns, len(item.images)) if isinstance(item, Sample) else item.reason for item in items}


@pytest.mark.parametrize("dataset_id", ["cxr8", "iu_xray", "mimic_cxr", "pmc_oa"])
def test_suffixes_in_capitals_are_read(dataset_id: str, tmp_path: Path) -> None:
    synthetic.write(dataset_id, tmp_path, seed=0)
    published = _read(dataset_id, tmp_path)
    for archive in [*tmp_path.rglob("*images*.tar.gz"), *tmp_path.rglob("*png.tgz")]:
        shutil.unpack_archive(archive, archive.with_name(archive.name.partition(".")[0]), filter="data")
        archive.unlink()
    named = [path for suffix in (".zip", ".png", ".jpg") for path in tmp_path.rglob(f"*{suffix}")]
    for path in named:
        path.rename(path.with_suffix(path.suffix.upper()))
    assert named and _read(dataset_id, tmp_path) == published
