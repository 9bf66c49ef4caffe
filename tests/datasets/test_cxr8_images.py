from pathlib import Path
from typing import Any

import pytest

from openmedq.datasets.cxr8.images import join_images, take_image
from openmedq.datasets.fields import Unusable
from openmedq.errors import ArchiveError, SourceError
from openmedq.schema import Reason
from tests.storage import archiving


def pack(path: Path, *names: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    archiving.write(path, {name: name.encode() for name in names})


def join(folder: Path, *names: str) -> list[tuple[str, Any]]:
    rows = ((str(number), {"file": name, "text": "a,\x1f\udc80"}) for number, name in enumerate(names))
    return list(join_images(rows, "file", folder, "images"))


def found(records: list[tuple[str, Any]]) -> dict[str, str]:
    """By key: where the image was found."""
    places = {}
    for key, record in records:
        try:
            picture = take_image(record, record["file"])
            places[key] = "archive" if picture.data else picture.path.parent.name  # type: ignore[union-attr]
        except Unusable as problem:
            assert problem.reason is Reason.IMAGE_MISSING
            places[key] = "nowhere"
        except ArchiveError:
            places[key] = "damaged"
    return places


def test_pictures_are_found_unpacked_and_in_archives_and_no_row_is_lost(tmp_path: Path) -> None:
    for name in ("images/a.png", "images_001/images/b.png", "images_2/c.png", "d.png", "other/z.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    pack(tmp_path / "images_003.tar.gz", "images/f.png", "images/e.png")
    pack(tmp_path / "images_004.tar", "g.png", "a.png")
    pack(tmp_path / "images/images_005.zip", "images_005/h.png")
    pack(tmp_path / "masks.zip", "z.png")
    records = join(tmp_path, *(f"{c}.png" for c in "zabcdefgh"))
    assert found(records) == {
        "0": "nowhere",
        "1": "images",
        "2": "images",
        "3": "images_2",
        "4": tmp_path.name,
        "5": "archive",
        "6": "archive",
        "7": "archive",
        "8": "archive",
    }
    assert [key for key, _ in records] == ["1", "2", "3", "4", "8", "6", "5", "7", "0"]  # the order of the archives
    assert {record["text"] for _, record in records} == {"a,\x1f\udc80"}


def test_a_name_that_comes_twice_keeps_its_order(tmp_path: Path) -> None:
    pack(tmp_path / "images.zip", "a.png")
    assert found(join(tmp_path, "a.png", "b.png", "a.png")) == {"0": "archive", "1": "nowhere", "2": "nowhere"}
    assert [key for key, _ in join(tmp_path, "a.png", "b.png", "a.png")] == ["0", "1", "2"]


@pytest.mark.parametrize("name", ["", "..", "../secret.png", "images/../d.png", "\0", "x" * 300, "\udc80.png", "."])
def test_names_do_not_leave_the_folder(tmp_path: Path, name: str) -> None:
    (tmp_path / "secret.png").write_bytes(b"x")
    (tmp_path / "raw/images").mkdir(parents=True)
    assert found(join(tmp_path / "raw", name)) == {"0": "nowhere"}


def test_a_cut_archive_is_one_line_and_is_not_opened_for_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pack(tmp_path / "images_001.tar.gz", "a.png")
    (tmp_path / "images_002.tar.gz").write_bytes((tmp_path / "images_001.tar.gz").read_bytes()[:60])
    assert found(join(tmp_path, "a.png")) == {"0": "archive"}
    assert any("images_002.tar.gz: not read" in message for message in caplog.messages)
    with pytest.raises(SourceError, match=r"images_002\.tar\.gz: not a whole archive") as error:
        join(tmp_path, "a.png", "b.png")
    assert "\n" not in str(error.value)
