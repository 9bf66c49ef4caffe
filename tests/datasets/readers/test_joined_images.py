from pathlib import Path

import pytest

from openmedq.datasets.fields import Unusable
from openmedq.datasets.readers.joined_images import join_images, take_image
from openmedq.errors import SourceError
from openmedq.schema import Reason
from tests.storage import archiving


def join(folder: Path, *names: str) -> list[tuple[str, str]]:
    """By record: its key, and where its image was found."""
    records = ((str(number), {"file": name, "text": "a,\x1f\udc80"}) for number, name in enumerate(names))
    archives = sorted(path for path in folder.iterdir() if path.name.startswith("images_"))
    found = []
    for key, record in join_images(records, "file", sorted(folder.glob("*.png")), archives):
        assert not isinstance(record, Unusable) and record["text"] == "a,\x1f\udc80"
        try:
            found.append((key, "archive" if take_image(record, record["file"]).data else "folder"))
        except Unusable as problem:
            assert problem.reason is Reason.IMAGE_MISSING
            found.append((key, "nowhere"))
    return found


def pack(path: Path, *names: str) -> None:
    archiving.write(path, {name: name.encode() for name in names})


def test_images_are_found_unpacked_and_in_archives_and_no_record_is_lost(tmp_path: Path) -> None:
    (tmp_path / "d.png").write_bytes(b"x")
    pack(tmp_path / "images_003.tar.gz", "images/f.png", "images/e.png")
    pack(tmp_path / "images_004.zip", "g.png", "d.png", "unnamed.png")
    names = ("absent.png", "d.png", "e.png", "", "f.png", "g.png", "d.png", "../d.png")
    assert join(tmp_path, *names) == [  # the order of the images
        ("3", "nowhere"),
        ("1", "folder"),
        *((key, "archive") for key in "425"),
        *((key, "nowhere") for key in "076"),  # the last one repeats a name
    ]


def test_a_cut_archive_is_one_line_and_is_not_opened_for_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pack(tmp_path / "images_001.tar.gz", "a.png")
    (tmp_path / "images_002.tar.gz").write_bytes((tmp_path / "images_001.tar.gz").read_bytes()[:60])
    assert join(tmp_path, "a.png") == [("0", "archive")]
    assert any("images_002.tar.gz: not read" in message for message in caplog.messages)
    with pytest.raises(SourceError, match=r"images_002\.tar\.gz: not a whole archive") as error:
        join(tmp_path, "a.png", "b.png")
    assert "\n" not in str(error.value)
