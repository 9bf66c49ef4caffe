from pathlib import Path

import PIL.Image
import pytest
from PIL import ImageDraw
from PIL.Image import Image

from openmedq.config import Normalize
from openmedq.curate import looks
from openmedq.curate.looks import confirm_looks
from openmedq.curate.near_images import Place
from openmedq.schema import EncodedImage, Provenance, Sample, Task, Turn
from openmedq.storage.decoding import Inline
from openmedq.storage.images import encode as encode_for_storage
from openmedq.storage.shards import ShardStore

from .drawn import EDITS, draw_slice, encode

SETTINGS = Normalize(row_group_rows=2)


def _dark_slice(width: int, holes: list[tuple[int, int, int, int]]) -> Image:
    """A small body on a dark field, with the table below it."""
    image = PIL.Image.new("L", (512, 512), 0)
    drawing = ImageDraw.Draw(image)
    drawing.arc((40, 330, 470, 470), 20, 160, fill=200, width=3)
    drawing.ellipse((256 - width, 180, 256 + width, 320), fill=110)
    for x, y, radius, gray in holes:
        drawing.ellipse((256 + x - radius, 250 + y - radius, 256 + x + radius, 250 + y + radius), fill=gray)
    return image


def _blank(gray: int) -> Image:
    return PIL.Image.new("L", (200, 200), gray)


def _row(number: int, image: EncodedImage) -> Sample:
    return Sample(
        id=f"scans/{number}",
        source="scans",
        split="train",
        task=Task.VQA,
        modality="radiology",
        licence="CC0-1.0",
        provenance=Provenance("rows.json", str(number)),
        turns=(Turn("What is shown?", "a scan"),),
        images=(image,),
    )


def test_copies_are_confirmed_and_look_alikes_are_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looks, "NUM_AT_ONCE", 3)
    one, small = draw_slice(1), draw_slice(1).resize((28, 28))
    dark = _dark_slice(60, [(0, -10, 18, 0), (0, 30, 16, 250)])
    pairs = [
        (one, EDITS["encoded again"](one), True),
        (one, EDITS["scaled"](one), True),
        (one, draw_slice(1, level=1), False),
        (small, PIL.Image.open(_save(tmp_path, small, 90)), True),
        (small, draw_slice(2).resize((28, 28)), False),
        (dark, PIL.Image.open(_save(tmp_path, dark, 60)), True),
        (dark, _dark_slice(72, [(0, -30, 9, 0), (0, 25, 18, 250), (-35, 0, 8, 230), (35, 0, 8, 230)]), False),
        (_blank(7), _blank(8), True),
        (_blank(7), _blank(80), False),
    ]
    images = [encode_for_storage(encode(each), SETTINGS) for first, second, _ in pairs for each in (first, second)]
    (tmp_path / "scans").mkdir()
    ShardStore(tmp_path / "scans").write([_row(*each) for each in enumerate(images)], SETTINGS)
    keys = [image.pixels_sha256 for image in images]
    places = {key: Place("scans", "shard-00000.parquet", number // 2) for number, key in enumerate(keys)}
    found = confirm_looks(tmp_path, list(zip(keys[::2], keys[1::2], strict=True)), places, Inline())
    assert list(found) == [expected for *_, expected in pairs]


def _save(folder: Path, image: Image, quality: int) -> Path:
    path = folder / f"{quality}.jpg"
    path.write_bytes(encode(image, quality))
    return path
