import hashlib
from pathlib import Path

import pytest

from openmedq.datasets.mimic_cxr.physionet import find_file, list_files, locate_files, table_beside
from openmedq.errors import SourceError


def write(path: Path, keys: list[str]) -> Path:
    path.write_text("key,id,said\n" + "".join(f"{key},7,word {key}\n" for key in keys), encoding="utf-8")
    return path


def test_rows_are_found_by_key_without_their_ids(tmp_path: Path) -> None:
    path = write(tmp_path / "table.csv", ["a", "b"])
    assert table_beside(path, "key", ("key", "id")) == {"a": '{"said":"word a"}', "b": '{"said":"word b"}'}
    assert table_beside(None, "key", ()) == {}


def test_a_survey_ends_a_few_levels_down(tmp_path: Path) -> None:
    near, far = tmp_path / "1/2/3/4/5/6", tmp_path / "1/2/3/4/5/6/7"
    (far / "p10").mkdir(parents=True)
    write(far / "table.csv", [])
    assert locate_files(tmp_path, {"table": ("table.csv",)}) == ({}, [])
    write(near / "table.csv", [])
    (near / "p10" / "p10000000").mkdir(parents=True)
    assert locate_files(tmp_path, {"table": ("table.csv",)}) == ({"table": near / "table.csv"}, [near])
    assert find_file([tmp_path, near], "table.csv") == near / "table.csv"
    assert find_file([near], "x" * 300) is None


URL = "https://physionet.org/files/project/1.0"


def name(number: int) -> str:
    return f"files/p10/p10{number // 4:06}/s{50_000_000 + number // 2}/0badcafe-{number:08x}.jpg"


def write_listing(raw: Path, listed: list[str], summed: list[str]) -> Path:
    (raw / "IMAGE_FILENAMES").write_text("".join(f"{path}\n" for path in listed), encoding="utf-8")
    lines = [f"{hashlib.sha256(path.encode()).hexdigest()} {path}\n" for path in summed]
    (raw / "SHA256SUMS.txt").write_text("".join(lines), encoding="utf-8")
    return raw


@pytest.mark.parametrize("step", [1, -1])
def test_pictures_and_tables_have_their_digests_in_any_order(tmp_path: Path, step: int) -> None:
    names = [name(number) for number in range(8)]
    summed = ["LICENSE.txt", "table.csv.gz", *names[:-1]]
    files = list(list_files(write_listing(tmp_path, names, summed[::step]), URL, ("table.csv.gz", "other.csv.gz")))
    assert [file.path for file in files] == [*names, "table.csv.gz"]
    assert [file.url for file in files] == [f"{URL}/{file.path}" for file in files]
    for file in files:
        expected = hashlib.sha256(file.path.encode()).hexdigest() if file.path != names[-1] else None
        assert file.sha256 == expected


def test_pictures_without_a_digest_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    names = [name(number) for number in range(5)]
    styles = [*names[:2], f" {names[2]}", f"*{names[3]}", f" *{names[4]}"]  # of sha256sum
    assert len(list(list_files(write_listing(tmp_path, names, styles), URL, ()))) == 5
    assert not caplog.messages
    assert len(list(list_files(write_listing(tmp_path, names, names[2:]), URL, ()))) == 5
    sums = tmp_path / "SHA256SUMS.txt"
    assert caplog.messages == [f"{sums}: no checksum of 2 of 5 images, which are not verified"]


NO_PATH = r"IMAGE_FILENAMES: line 2: not an image path, or repeated; get the"
NO_DIGEST = r"SHA256SUMS\.txt: line 1: expected a sha256, a space and a path"


@pytest.mark.parametrize(
    ("listed", "sums", "message"),
    [
        ([], "", "IMAGE_FILENAMES: lists no image"),
        ([name(0), name(0)], "", NO_PATH),
        ([name(0), "files/p10/p10000000/s50000000/../../p10000001/s1/a.jpg"], "", NO_PATH),
        ([name(0), "/files/p10/p10000000/s50000000/a.jpg"], "", NO_PATH),
        ([name(0), "files/p10/p11000000/s50000000/a.jpg"], "", NO_PATH),
        ([name(0), "files/p10/p10000000/s50000000/\u0661.jpg"], "", NO_PATH),
        *(
            ([name(0)], line, NO_DIGEST)
            for line in ("0" * 64, "0" * 63 + f" {name(0)}", "g" * 64 + f" {name(0)}", "p10000000")
        ),
    ],
)
def test_a_damaged_list_is_refused_and_not_shown(tmp_path: Path, listed: list[str], sums: str, message: str) -> None:
    write_listing(tmp_path, listed, [])
    (tmp_path / "SHA256SUMS.txt").write_text(f"{sums}\n" if sums else "", encoding="utf-8")
    with pytest.raises(SourceError, match=message) as error:
        list(list_files(tmp_path, URL, ()))
    assert "\n" not in str(error.value)
    assert "p10000000" not in str(error.value)
