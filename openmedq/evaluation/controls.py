"""Controls of the stage evaluate: the same questions without what their images show.

| control  | the model sees                                                                         |
|----------|----------------------------------------------------------------------------------------|
| blank    | uniform gray images                                                                    |
| shuffled | the images of another question of the same source, as many as its own, and not the same |
| no_image | the question alone                                                                     |

A model whose score stays the same answers from the text. Rows without an image have no control.
"""

from __future__ import annotations

import io
import random
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import overload

import PIL.Image
import pyarrow as pa
import pyarrow.compute as pc

from openmedq.config.learning import Control
from openmedq.schema import Sample
from openmedq.storage.shards import ShardStore

CONTROL_SCHEMA = pa.schema([pa.field(name, pa.string(), False) for name in ("control", "id", "answer")])

GRAY_LEVEL = 128  # of 255
_PIXELS = "images.list.element.pixels_sha256"


@dataclass(frozen=True)
class Changed(Sequence[Sample]):
    """Samples that are read and changed on access."""

    num: int
    read: Callable[[int], Sample]

    def __len__(self) -> int:
        return self.num

    @overload
    def __getitem__(self, place: int) -> Sample: ...

    @overload
    def __getitem__(self, place: slice) -> Sequence[Sample]: ...

    def __getitem__(self, place: int | slice) -> Sample | Sequence[Sample]:
        if isinstance(place, slice):
            return [self.read(each) for each in range(*place.indices(self.num))]
        return self.read(place)


def iterate(
    controls: Sequence[Control], store: ShardStore, rows: pa.Table, seed: int
) -> Iterator[tuple[Control, pa.Table, Sequence[Sample]]]:
    """Yield each control with its rows, and their samples as the model sees them.

    `rows` of the index have images. Those whose source has no other images, as many as theirs, are not in `shuffled`.
    """
    for control in dict.fromkeys(controls):
        asked = rows
        if control == "shuffled":
            shown_by = find_other_images(store, rows, seed)
            asked = rows.filter(pc.is_in(rows["id"], pa.array(list(shown_by), pa.string())))
            others = pa.array([shown_by[row_id] for row_id in asked["id"].to_pylist()], pa.string())
            shown = store.take(rows.take(pc.index_in(others, rows["id"])))
        else:
            shown = ()
        yield control, asked, Changed(len(asked), _change(control, store.take(asked, with_images=False), shown))


def _change(control: Control, texts: Sequence[Sample], shown: Sequence[Sample]) -> Callable[[int], Sample]:
    if control == "blank":
        return lambda place: show_gray(texts[place])
    if control == "shuffled":
        return lambda place: replace(texts[place], images=shown[place].images)
    return lambda place: replace(texts[place], images=())


def hide_images(samples: Sequence[Sample]) -> Sequence[Sample]:
    """The samples without their images."""
    return Changed(len(samples), lambda place: replace(samples[place], images=()))


def show_gray(sample: Sample) -> Sample:
    """Replace each image by a uniform gray one."""
    return replace(sample, images=tuple(replace(image, path=None, data=_GRAY) for image in sample.images))


def find_other_images(store: ShardStore, rows: pa.Table, seed: int) -> dict[str, str]:
    """For each row, the row of its source whose images it is shown; without rows that have no such row.

    All questions on the same images, by their pixels, are shown the same other images.
    """
    first: dict[tuple[str, int], dict[tuple[str, ...], str]] = defaultdict(dict)
    own: dict[str, tuple[tuple[str, int], tuple[str, ...]]] = {}
    for group in store.scan_index(rows, ["id", _PIXELS]):
        for row in group.rows.to_pylist():
            pixels = tuple(image["pixels_sha256"] for image in row["images"])
            own[row["id"]] = key = (group.source, len(pixels)), pixels
            first[key[0]].setdefault(pixels, row["id"])
    following: dict[tuple[str, int], dict[tuple[str, ...], str]] = {}
    for kind, row_of in first.items():
        ordered = sorted(row_of)
        random.Random(f"{seed} {kind}").shuffle(ordered)
        pairs = zip(ordered, [*ordered[1:], *ordered[:1]], strict=True)
        following[kind] = {pixels: row_of[other] for pixels, other in pairs if pixels != other}
    places = ((row_id, following[kind].get(pixels)) for row_id, (kind, pixels) in own.items())
    return {row_id: other for row_id, other in places if other is not None}


def _draw_gray() -> bytes:
    buffer = io.BytesIO()
    PIL.Image.new("L", (8, 8), GRAY_LEVEL).save(buffer, "PNG")
    return buffer.getvalue()


_GRAY = _draw_gray()
