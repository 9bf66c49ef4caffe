from itertools import cycle
from pathlib import Path

import pytest

from openmedq.config import Normalize
from openmedq.curate.normalize import rows
from openmedq.errors import SourceError
from openmedq.schema import Reason, Rejected
from openmedq.storage import unexpected
from openmedq.storage.decoding import Inline
from tests.datasets.conftest import FolderOf
from tests.datasets.test_contract import SETS, every_dataset

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 212343373\n"
UNEXPECTED = {
    "a Git LFS pointer": POINTER,
    "an HTML page": b'\n<!DOCTYPE html>\n<html lang="en"><head></head><body>Sign in</body></html>\n',
    "an XML error of its host (AccessDenied)": b'<?xml version="1.0" encoding="UTF-8"?>\n'
    b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>",
}
IMAGES = (".jpg", ".png")
# Files whose content readers do not need.
UNREAD = ("README-VQA-Med-2019-Data.txt", "SHA256SUMS.txt", "IMAGE_FILENAMES", "pmc_oa_beta.jsonl", "dlinks.txt")


@every_dataset
def test_an_unexpected_file_is_named_and_not_read(dataset_id: str, copy_of: FolderOf) -> None:
    raw = copy_of(dataset_id)
    published = [path for path in sorted(raw.rglob("*")) if path.is_file() and path.suffix not in IMAGES]
    num_named = 0
    # Of ROCO's 36 lists and PathVQA's 13 shards, each kind is among the first.
    for path, what in zip(published[:12], cycle(UNEXPECTED), strict=False):
        whole = path.read_bytes()
        path.write_bytes(UNEXPECTED[what])
        try:
            list(SETS[dataset_id].read(raw))
        except SourceError as error:
            num_named += 1
            assert "\n" not in str(error)
            assert f"{path.name} is {what}, not " in str(error)
            assert what != "a Git LFS pointer" or f'run "git lfs pull" in {path.parent}' in str(error)
        else:
            assert path.name in UNREAD or "_2." in path.name, path  # another version, of which the first is read
        path.write_bytes(whole)
    assert num_named


@pytest.mark.parametrize("dataset_id", [*("vqa_rad", "mimic_cxr", "medfmc_chest", "medfmc_colon", "medfmc_endo")])
def test_an_unexpected_file_among_the_images_costs_its_records(dataset_id: str, copy_of: FolderOf) -> None:
    raw = copy_of(dataset_id)
    for path, what in zip((path for path in raw.rglob("*") if path.suffix in IMAGES), cycle(UNEXPECTED), strict=False):
        path.write_bytes(UNEXPECTED[what])
    found = list(rows(SETS[dataset_id], raw, Normalize(), Inline()))
    assert all(isinstance(row, Rejected) for row in found)
    details = {row.detail for row in found if isinstance(row, Rejected) and row.reason is Reason.IMAGE_UNEXPECTED}
    assert all(any(f"{what}, not an image" in detail for detail in details) for what in UNEXPECTED)


@pytest.mark.parametrize(("dataset_id", "name"), [("slake", "imgs.zip"), ("cxr8", "images_003.tar.gz")])
def test_another_kind_of_archive_is_named(dataset_id: str, name: str, copy_of: FolderOf) -> None:
    raw = copy_of(dataset_id)
    for head, kind in ((b"7z\xbc\xaf'\x1c", "7z"), (b"Rar!\x1a\x07", "RAR"), (b"\xfd7zXZ", "xz")):
        (raw / name).write_bytes(head + bytes(600))
        with pytest.raises(
            SourceError, match=rf"{name} is {kind}; only zip, tar and tar\.gz are read: unpack it there$"
        ):
            list(SETS[dataset_id].read(raw))


@pytest.mark.parametrize("text", ["Entry not found", "404: Not Found", "<html>\n404\n</html>\n"])
def test_what_hosts_answer_in_plain_words_is_named_too(tmp_path: Path, text: str) -> None:
    (tmp_path / "train.json").write_text(text, encoding="utf-8")
    with pytest.raises(SourceError, match=r"train\.json is an? .*, not the published file; download the file again"):
        list(SETS["slake"].read(tmp_path))


def test_a_file_of_comments_takes_no_exponential_time() -> None:
    """An expression that backtracks over all ways to split the comments would not end."""
    assert unexpected.describe(b"<!-- a --> " * 200 + b"<record>") is None
    assert unexpected.describe(b"<!-- a --> " * 20 + b"<html>") is not None
