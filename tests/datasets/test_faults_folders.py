"""Faults of users' folders and archives, each over all datasets that it concerns."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.datasets import faults
from tests.datasets.faults import SETS

Read = Callable[[str], list[faults.Row]]

PACKED = ("pmc_oa", "pmc_vqa", "slake", "vqa_med_2019", "iu_xray", "omnimedvqa", "breast_ultrasound", "cxr8")
FOLDERS = ("vqa_rad", "roco", "medfmc_chest", "medfmc_colon", "medfmc_endo")


@pytest.fixture(scope="session")
def expected(miniature_of: Callable[[str], Path]) -> Read:
    """The rows of a dataset's miniature."""
    return cache(lambda set_id: faults.read(set_id, miniature_of(set_id)))


@pytest.mark.parametrize("set_id", sorted(SETS))
def test_what_operating_systems_add_is_ignored(set_id: str, copy_of: Callable[[str], Path], expected: Read) -> None:
    raw = copy_of(set_id)
    faults.add_junk(raw)
    assert faults.read(set_id, raw) == expected(set_id)


@pytest.mark.parametrize("set_id", PACKED)
def test_an_archive_serves_what_is_not_unpacked(set_id: str, copy_of: Callable[[str], Path], expected: Read) -> None:
    raw = copy_of(set_id)
    assert faults.half_unpack(raw) > 3
    assert sorted(map(repr, faults.read(set_id, raw))) == sorted(map(repr, expected(set_id)))


def half_pack(set_id: str, raw: Path) -> None:
    """Pack half of each folder of images into the archive that the dataset's reader knows."""
    if set_id == "vqa_rad":
        faults.half_pack(raw / "VQA_RAD Image Folder", raw / "VQA_RAD Image Folder.zip")
    elif set_id == "roco":
        for folder in raw.glob("data/*/*/images"):
            faults.half_pack(folder, folder.with_name("images.zip"), "images/")
    else:
        for folder in raw.glob("MedFMC_*"):
            faults.half_pack(folder, folder.with_name(f"{folder.name}.zip"), f"{folder.name}/")


@pytest.mark.parametrize("set_id", FOLDERS)
def test_an_archive_beside_a_folder_serves_what_it_lacks(
    set_id: str, copy_of: Callable[[str], Path], expected: Read
) -> None:
    raw = copy_of(set_id)
    half_pack(set_id, raw)
    assert sorted(map(repr, faults.read(set_id, raw))) == sorted(map(repr, expected(set_id)))


@pytest.mark.parametrize("set_id", ["slake", "vqa_rad", "vqa_med_2019", "breast_ultrasound"])
def test_a_damaged_archive_beside_a_folder_is_a_warning(
    set_id: str, copy_of: Callable[[str], Path], caplog: pytest.LogCaptureFixture
) -> None:
    raw = copy_of(set_id)
    if set_id in FOLDERS:
        half_pack(set_id, raw)
    else:
        faults.half_unpack(raw)
    for path in raw.glob("*.zip"):
        path.write_bytes(path.read_bytes()[:-40])
    with caplog.at_level(logging.WARNING):
        rows = faults.read(set_id, raw)
    assert len([row for row in rows if len(row) > 3]) >= 3
    assert any("not a whole archive" in message for message in caplog.messages)


@pytest.mark.parametrize("set_id", ["medqa"])
def test_an_archive_serves_the_splits_that_are_not_unpacked(
    set_id: str, copy_of: Callable[[str], Path], expected: Read
) -> None:
    raw = copy_of(set_id)
    for archive in faults.find_files(raw, ".zip"):
        for name, data in list(faults.members_of(archive).items())[::3]:
            (raw / name).parent.mkdir(parents=True, exist_ok=True)
            (raw / name).write_bytes(data)
    assert faults.read(set_id, raw) == expected(set_id)


def with_backslashes(name: str, data: bytes) -> Iterator[tuple[str, bytes]]:
    yield name.replace("/", "\\"), data


@pytest.mark.parametrize("set_id", [*PACKED, *FOLDERS, "medqa", "mimic_cxr"])
def test_archives_with_backslashes_are_read(set_id: str, copy_of: Callable[[str], Path], expected: Read) -> None:
    raw = copy_of(set_id)
    if set_id in FOLDERS:
        half_pack(set_id, raw)
    assert faults.change_archives(raw, with_backslashes)
    assert sorted(map(repr, faults.read(set_id, raw))) == sorted(map(repr, expected(set_id)))


@pytest.mark.parametrize(
    "rename", [str, lambda name: name.removesuffix(".gz").replace(".tgz", ".tar")], ids=["same name", "name without gz"]
)
@pytest.mark.parametrize("set_id", ["mimic_cxr", "iu_xray", "cxr8"])
def test_gzips_that_a_browser_has_unpacked_are_read(
    set_id: str, rename: Callable[[str], str], copy_of: Callable[[str], Path], expected: Read
) -> None:
    raw = copy_of(set_id)
    assert faults.unpack_gzips(raw, rename)
    assert faults.read(set_id, raw) == expected(set_id)
