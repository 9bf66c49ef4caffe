"""The pixels of training are those of the saved processor."""

import functools
import io
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from numpy.typing import NDArray
from transformers import AutoProcessor

from openmedq.errors import ModelError
from openmedq.model.model import build_processor
from openmedq.model.pixels import decode, normalize
from openmedq.schema import Image
from tests.storage.drawing import save

from . import tiny

SIDE_PX = 56  # so that images of 1010 px are reduced by 8
MEAN, STD = (0.48, 0.46, 0.41), (0.27, 0.26, 0.28)
SIZES = [
    (8, 8),
    (9, 31),
    (57, 75),
    (56, 300),
    (112, 336),
    (175, 128),
    (255, 252),
    (505, 530),
    (3000, 130),
    (1010, 1009),
]
JPEG = {f"quality {quality}": {"quality": quality} for quality in (50, 75, 95)} | {
    "progressive": {"quality": 85, "progressive": True},
    "4:2:0": {"quality": 90, "subsampling": "4:2:0"},
    "4:2:2": {"quality": 90, "subsampling": "4:2:2"},
    "4:4:4": {"quality": 90, "subsampling": "4:4:4"},
}


@pytest.fixture(scope="module", params=["bilinear", "bicubic"])
def saved(request: pytest.FixtureRequest, tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    vision = {"resample": request.param, "image_size_px": SIDE_PX, "mean": MEAN, "std": STD}
    folder = tmp_path_factory.mktemp("processor")
    build_processor(tokenizer, tiny.make_settings(vision=vision).vision).save_pretrained(folder)
    return AutoProcessor.from_pretrained(folder).image_processor


def draw(size: tuple[int, int], seed: int = 0) -> PIL.Image.Image:
    """Smooth shapes with sensor noise, sharp edges and a scale at a corner, like a scan with an annotation."""
    random = np.random.default_rng(seed)
    x, y = np.meshgrid(np.linspace(-1, 1, size[0]), np.linspace(-1, 1, size[1]))
    waves = [np.sin(9 * x + seed) * np.cos(7 * y), np.cos(5 * x * y + 1), np.sin(11 * x - 8 * y)]
    levels = 128 + 70 * np.stack(waves, -1) + random.normal(0, 6, (*x.shape, 3))
    levels[(x**2 + 1.5 * y**2) > 0.8] = 5
    levels[(abs(x) < 0.1) & (abs(y) < 0.2)] = (250, 30, 40)
    levels[(x < -0.9) & (np.arange(size[1])[:, None] % 40 < 6)] = 255
    return PIL.Image.fromarray(levels.clip(0, 255).astype(np.uint8))


@functools.cache
def make_all(size: tuple[int, int]) -> dict[str, bytes]:
    color = draw(size)
    gray = color.convert("L")
    alpha = color.copy()
    alpha.putalpha(gray)
    deep = PIL.Image.fromarray(np.asarray(gray).astype(np.uint16) * 3)
    turned = PIL.Image.Exif()
    turned[0x0112] = 6
    files = {f"JPEG RGB {name}": save(color, "JPEG", **options) for name, options in JPEG.items()}
    files |= {f"JPEG gray {name}": save(gray, "JPEG", **options) for name, options in JPEG.items() if ":" not in name}
    files["JPEG CMYK"] = save(color.convert("CMYK"), "JPEG", quality=90)
    files["JPEG turned"] = save(color, "JPEG", quality=90, exif=turned)
    files["JPEG with bytes after its end"] = save(color, "JPEG", quality=90) + b"\0\0"
    modes = {"gray": gray, "RGB": color, "RGBA": alpha, "gray and alpha": alpha.convert("LA"), "16 bit": deep}
    modes |= {"palette": color.quantize(32), "1 bit": color.convert("1")}
    files |= {f"PNG {name}": save(image, "PNG", compress_level=1) for name, image in modes.items()}
    files["PNG turned"] = save(gray, "PNG", compress_level=1, exif=turned)
    files["PNG with a transparent color"] = save(color, "PNG", compress_level=1, transparency=(255, 255, 255))
    return files


def measure(data: bytes, image_processor: Any) -> NDArray[np.float64]:
    """Absolute differences between our pixels and the processor's, of pixel values in [0, 1]."""
    ours = decode(Image("x", data=data), image_processor.size["height"], image_processor.resample)
    assert ours.shape == (3, SIDE_PX, SIDE_PX)
    assert ours.dtype == torch.uint8
    with PIL.Image.open(io.BytesIO(data)) as opened:
        theirs = image_processor(opened, return_tensors="np")["pixel_values"]
    difference = normalize(ours[None], MEAN, STD).numpy() - theirs
    return np.abs(difference * np.reshape(STD, (3, 1, 1)))


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_pixels_are_the_saved_processors(size: tuple[int, int], saved: Any) -> None:
    for name, data in make_all(size).items():
        difference = measure(data, saved)
        assert difference.mean() <= 1 / 255, name
        assert np.percentile(difference, 99) <= 8.001 / 255, name  # with the rounding of float32
        if not name.startswith("JPEG") or min(size) < 2 * SIDE_PX:  # decoded at full size
            assert difference.max() <= 1.01 / 255, name


def test_a_path_is_read(tmp_path: Path) -> None:
    data = save(draw((40, 30)), "PNG")
    (tmp_path / "x.png").write_bytes(data)
    ours = decode(Image("x", path=tmp_path / "x.png"), 16, 3)
    assert torch.equal(ours, decode(Image("x", data=data), 16, 3))


@pytest.mark.parametrize("file_format", ["JPEG", "PNG"])
def test_an_image_that_is_cut_short_is_an_error(file_format: str) -> None:
    data = save(draw((500, 400)), file_format)
    with pytest.raises(ModelError, match="scan-7: the image can't be decoded") as caught:
        decode(Image("scan-7", data=data[: len(data) // 2]), 32, 3)
    assert "\n" not in str(caught.value)


def test_what_is_no_image_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="x: the image can't be decoded"):
        decode(Image("x", data=b"text"), 32, 3)
    with pytest.raises(ModelError, match="x: the image can't be decoded"):
        decode(Image("x", path=tmp_path / "nowhere.png"), 32, 3)
    with pytest.raises(ModelError, match="x: the sample was read without its images"):
        decode(Image("x"), 32, 3)


def test_normalized_pixels() -> None:
    pixels = torch.randint(0, 256, (2, 3, 5, 5), dtype=torch.uint8)
    expected = (pixels / 255 - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]
    torch.testing.assert_close(normalize(pixels, MEAN, STD), expected)
    assert normalize(pixels[:0], MEAN, STD).shape == (0, 3, 5, 5)
