"""Images are decoded once each, with the same result in any executor."""

import os
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import PIL.Image
import pytest

from openmedq.config import Execution, Normalize
from openmedq.errors import OpenMedQError
from openmedq.schema import BrokenImage, Image, Reason
from openmedq.storage import decoding
from openmedq.storage.decoding import Decoder, Inline, encode_image, open_executor
from tests.memory import takes_less_than
from tests.storage.drawing import save

SETTINGS = Normalize()


def _png(level: int) -> bytes:
    return save(PIL.Image.new("L", (20, 20), level), "PNG")


class _Counting(Inline):
    num_submitted = 0

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        self.num_submitted += 1
        return super().submit(fn, *args, **kwargs)


def test_a_repeated_picture_is_decoded_once(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(_png(1))
    executor = _Counting()
    decoder = Decoder(executor, SETTINGS)
    shown = [Image("a", path=path), Image("b", data=_png(2)), Image("c", data=b"none")]
    for image in shown * 3:
        decoder.submit(image)
    assert executor.num_submitted == 3
    decoder.submit(Image("b", data=_png(3)))  # the same name, another picture
    assert executor.num_submitted == 4


def test_broken_pictures_are_remembered_within_the_bound_and_without_their_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoding, "REMEMBERED_BYTES", 20 * decoding.BROKEN_BYTES)
    decoder = Decoder(Inline(), SETTINGS)

    def submit_all() -> None:
        for number in range(100):
            path = tmp_path / f"{number}.png"
            path.write_bytes(b"no picture" * 10_000)
            assert isinstance(decoder.submit(Image("a", path=path)).exception(), BrokenImage)

    assert takes_less_than(1_000_000, submit_all)
    assert len(decoder._futures) <= 21


def test_a_picture_that_is_not_there_is_missing(tmp_path: Path) -> None:
    (tmp_path / "loop.png").symlink_to("loop.png")
    for path in (tmp_path / "none.png", tmp_path, tmp_path / "loop.png"):
        with pytest.raises(BrokenImage) as caught:
            encode_image(Image("a", path=path), SETTINGS)
        assert caught.value.reason is Reason.IMAGE_MISSING
    with pytest.raises(BrokenImage) as caught:
        encode_image(Image("a"), SETTINGS)
    assert caught.value.reason is Reason.IMAGE_UNREADABLE


def test_a_pool_gives_what_this_process_gives_and_a_killed_worker_is_one_line() -> None:
    shown = [Image(str(level), data=_png(level)) for level in range(8)] + [Image("x", data=b"none")]
    with (
        pytest.raises(OpenMedQError, match=r"^a worker process was killed: probably out of memory; lower execution"),
        open_executor(Execution(workers=2)) as (executor, _),
    ):
        futures = [Decoder(executor, SETTINGS).submit(image) for image in shown]
        assert isinstance(futures.pop().exception(), BrokenImage)
        assert [future.result() for future in futures] == [encode_image(image, SETTINGS) for image in shown[:-1]]
        executor.submit(os._exit, 1).result()
