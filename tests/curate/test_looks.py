import io
from pathlib import Path

import PIL.Image
import pytest
from PIL import ImageDraw
from PIL.Image import Image

from openmedq.curate import looks
from openmedq.curate.looks import confirm_looks
from openmedq.curate.near_images import Place
from openmedq.storage.decoding import Inline
from openmedq.storage.shards import ShardStore

from .drawn import EDITS, GROUP_ROWS, draw_slice, encode, write_images


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


def _encode_again(image: Image, quality: int) -> Image:
    return PIL.Image.open(io.BytesIO(encode(image, quality)))


def test_copies_are_confirmed_and_look_alikes_are_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looks, "NUM_AT_ONCE", 3)
    one, small = draw_slice(1), draw_slice(1).resize((28, 28))
    dark = _dark_slice(60, [(0, -10, 18, 0), (0, 30, 16, 250)])
    pairs = [
        (one, EDITS["encoded again"](one), True),
        (one, EDITS["scaled"](one), True),
        (one, draw_slice(1, level=1), False),
        (small, _encode_again(small, 90), True),
        (small, draw_slice(2).resize((28, 28)), False),
        (dark, _encode_again(dark, 60), True),
        (dark, _dark_slice(72, [(0, -30, 9, 0), (0, 25, 18, 250), (-35, 0, 8, 230), (35, 0, 8, 230)]), False),
        (_blank(7), _blank(8), True),
        (_blank(7), _blank(80), False),
    ]
    images = (image for first, second, _ in pairs for image in (first, second))
    write_images(tmp_path, "scans", {str(number): image for number, image in enumerate(images)})
    stored = ShardStore(tmp_path / "scans").read(["images.list.element.pixels_sha256"]).to_pylist()
    keys = [row["images"][0]["pixels_sha256"] for row in stored]
    places = {key: Place("scans", "shard-00000.parquet", number // GROUP_ROWS) for number, key in enumerate(keys)}
    found = confirm_looks(tmp_path, list(zip(keys[::2], keys[1::2], strict=True)), places, Inline())
    assert list(found) == [expected for *_, expected in pairs]
