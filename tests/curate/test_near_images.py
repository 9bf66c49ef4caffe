from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from PIL.Image import Image

from openmedq.curate import near_images
from openmedq.curate.image_comparison import MIN_SIDE_PX, Start, compare
from openmedq.curate.near_images import EVALUATION_COLUMNS, TRAINING_COLUMNS, Copy, find_copies
from openmedq.curate.reasons import Tier
from openmedq.storage.decoding import Inline
from openmedq.storage.shards import ShardStore

from .drawn import EDITS, draw_slice, write_images


def _find(samples: Path, executor: object = None) -> list[Copy]:
    return find_copies(
        samples,
        ShardStore(samples / "evaluation").scan(EVALUATION_COLUMNS),
        ShardStore(samples / "training").scan(TRAINING_COLUMNS),
        executor or Inline(),
    )


def _on_dark_field(seed: int) -> Image:
    scan = PIL.Image.new("L", (384, 384))
    scan.paste(draw_slice(seed).resize((210, 180)), (90, 100))
    return scan


def _name(copies: list[Copy], own: dict[str, str], other: dict[str, str]) -> set[tuple[str, str, str]]:
    return {(own[each.evaluation], other[each.training], each.tier) for each in copies}


def test_edited_copies_are_found_and_others_are_not(tmp_path: Path) -> None:
    own = write_images(tmp_path, "evaluation", {"first": draw_slice(1), "second": draw_slice(2)})
    planted: dict[str, Image | bytes] = {name: edit(draw_slice(1)) for name, edit in EDITS.items()}
    planted |= {f"patient {seed}": draw_slice(seed) for seed in range(3, 20)}
    planted |= {"next slice": draw_slice(1, level=1)}
    other = write_images(tmp_path, "training", planted)
    copies = _find(tmp_path)
    found = _name(copies, own, other)
    assert found == {("first", name, "near image") for name in EDITS} | {("first", "next slice", "same series")}
    assert min(each.agreement for each in copies) >= 0.3


def test_one_panel_of_an_evaluation_figure_is_found(tmp_path: Path) -> None:
    own = write_images(tmp_path, "evaluation", {"figure": EDITS["beside another"](draw_slice(1))})
    other = write_images(tmp_path, "training", {"panel": draw_slice(1), "else": draw_slice(4)})
    assert _name(_find(tmp_path), own, other) == {("figure", "panel", "near image")}


def test_an_edge_within_a_panel_is_no_edge_between_panels(tmp_path: Path) -> None:
    scan = draw_slice(6)
    scan.paste(255, (70, 30, 140, 200))
    figure = PIL.Image.new("L", (140 + scan.width, scan.height))
    figure.paste(draw_slice(56).resize((140, scan.height)), (0, 0))
    figure.paste(scan, (140, 0))
    own = write_images(tmp_path, "evaluation", {"scan": scan})
    other = write_images(tmp_path, "training", {"figure": figure})
    assert _name(_find(tmp_path), own, other) == {("scan", "figure", "near image")}


@pytest.mark.parametrize(
    ("scan", "left", "top", "right", "bottom"),
    [
        (_on_dark_field(1), 38, 0, 0, 0),
        (_on_dark_field(3), 0, 0, 38, 0),
        (_on_dark_field(1), 30, 5, 8, 16),  # less than a pixel of a thumbnail, and more
        (draw_slice(39), 24, 3, 2, 18),
    ],
)
def test_a_border_has_its_own_width_on_each_side(
    scan: Image, left: int, top: int, right: int, bottom: int, tmp_path: Path
) -> None:
    framed = PIL.Image.new("L", (scan.width + left + right, scan.height + top + bottom), 255)
    framed.paste(scan, (left, top))
    own = write_images(tmp_path, "evaluation", {"scan": scan})
    other = write_images(tmp_path, "training", {"framed": framed})
    assert _name(_find(tmp_path), own, other) == {("scan", "framed", "near image")}


def test_blank_and_tiny_images_and_equal_ones_are_no_near_copies(tmp_path: Path) -> None:
    tiny = draw_slice(1).resize((MIN_SIDE_PX - 1,) * 2)
    blank = PIL.Image.new("L", (256, 256), 7)
    write_images(tmp_path, "evaluation", {"blank": blank, "slice": draw_slice(1)})
    planted = {"tiny": tiny, "blank": PIL.Image.new("L", (256, 200), 9), "same pixels": draw_slice(1)}
    write_images(tmp_path, "training", planted)
    assert _find(tmp_path) == []


def test_the_result_does_not_depend_on_batches_or_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_images(tmp_path, "evaluation", {f"image {seed}": draw_slice(seed) for seed in range(3)})
    edited = {f"{name} {seed}": EDITS[name](draw_slice(seed)) for seed in range(3) for name in ("cropped", "mirrored")}
    write_images(tmp_path, "training", edited)
    copies = _find(tmp_path)
    assert len(copies) == 6
    monkeypatch.setattr(near_images, "NUM_SEARCHED", 1)
    monkeypatch.setattr(near_images, "NUM_AHEAD", 0)
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        assert _find(tmp_path, pool) == copies


def test_only_row_groups_with_candidates_are_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_images(tmp_path, "evaluation", {"first": draw_slice(1)})
    planted = {f"patient {seed}": draw_slice(seed) for seed in range(3, 12)} | {"copy": EDITS["cropped"](draw_slice(1))}
    write_images(tmp_path, "training", planted)
    read = []

    class Store(ShardStore):
        def scan_groups(self, wanted, columns):
            read.append({place: set(groups) for place, groups in wanted.items()})
            yield from super().scan_groups(wanted, columns)

    monkeypatch.setattr(near_images, "ShardStore", Store)
    assert len(_find(tmp_path)) == 1
    assert read == [{("training", "shard-00000.parquet"): {3}}]  # the fourth row group of three rows


def test_without_evaluation_images_nothing_is_read(tmp_path: Path) -> None:
    def fail() -> Iterator[None]:
        raise AssertionError
        yield

    assert find_copies(tmp_path, [], fail(), Inline()) == []


@pytest.mark.parametrize("shift", [0.0, 0.1])
def test_an_alignment_may_not_move_far(shift: float) -> None:
    first = np.asarray(draw_slice(1))
    moved = np.eye(3)
    moved[0, 2] = shift * 5
    tier = compare(first, first, Start(moved)).tier
    assert tier is (None if shift else Tier.NEAR_IMAGE)


def test_real_copies_are_found_and_real_look_alikes_are_not(tmp_path: Path, real_data: Path) -> None:
    folder = real_data / "VQA-RAD" / "VQA_RAD Image Folder"
    paths = sorted(folder.glob("*.jpg"))[::60]
    if not paths:
        pytest.skip("OPENMEDQ_REAL_DATA holds no VQA-RAD images")
    images = {path.stem: PIL.Image.open(path).convert("L") for path in paths}
    own = write_images(tmp_path, "evaluation", {path.stem: path.read_bytes() for path in paths})
    planted: dict[str, Image | bytes] = {
        f"{name} {edit}": EDITS[edit](image)
        for name, image in images.items()
        for edit in ("scaled", "cropped", "mirrored", "rotated")
    }
    planted |= {path.stem: path.read_bytes() for path in sorted(folder.glob("*.jpg"))[1::10]}
    other = write_images(tmp_path, "training", planted)
    found = _name(_find(tmp_path), own, other)
    copies = {
        (name, f"{name} {edit}", "near image")
        for name in images
        for edit in ("scaled", "cropped", "mirrored", "rotated")
    }
    assert len(copies - found) <= 0.05 * len(copies)
    assert not {pair for pair in found - copies if pair[2] == "near image" and pair[1] in {p.stem for p in paths}}


def test_an_image_that_agrees_in_part_is_no_copy() -> None:
    first, second = draw_slice(1), draw_slice(1, level=1)
    first_half = first.copy()
    first_half.paste(second.crop((160, 0, 256, 256)), (160, 0))
    comparison = compare(np.asarray(first), np.asarray(first_half), Start(np.eye(3)))
    assert comparison.tier is Tier.SAME_SERIES
    assert 0.5 < comparison.agreement < 0.87
