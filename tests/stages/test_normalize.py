import errno
import json
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from openmedq import paths
from openmedq.curate import normalize
from openmedq.datasets import registry
from openmedq.errors import DiskFullError, OpenMedQError, SourceError
from openmedq.fetch import download, manifest
from openmedq.schema import BrokenImage, Image, Provenance, Reason, Rejected, Sample
from openmedq.storage import shards
from openmedq.storage.decoding import Inline
from tests.curate.corpus import make_params

from . import toyset

pytestmark = pytest.mark.usefixtures("toy")

OUTPUT = paths.SAMPLES / "toy_set"


@pytest.fixture
def reading(monkeypatch: pytest.MonkeyPatch) -> Callable[[list[Any]], None]:
    """Make the toy dataset's reader yield the items, or raise them."""

    def set_items(items: list[Any]) -> None:
        def read(raw: Path) -> Iterator[Sample | Rejected]:
            for item in items:
                if isinstance(item, BaseException):
                    raise item
                yield item

        monkeypatch.setattr(registry, "load", lambda _: toyset.make_set(read))

    return set_items


def _run(workers: int = 1, **settings: Any) -> dict[str, Any]:
    params = make_params(download={"mirror": "mirror"}, normalize=settings, execution={"workers": workers})
    manifest.run(params)
    download.run(params, registry.load("toy_set"))
    normalize.run(params, registry.load("toy_set"))
    counts: dict[str, Any] = json.loads((OUTPUT / "counts.json").read_text())
    return counts


def _bytes() -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in OUTPUT.iterdir()}


def _rejected() -> list[tuple[str, str, str]]:
    rows = pq.read_table(OUTPUT / shards.REJECTED).to_pylist()
    return [(row["id"], row["reason"], row["detail"]) for row in rows]


def test_every_record_is_a_row_or_written_down(mirror: Path) -> None:
    assert _run() == {
        "state": "present",
        "origin": "mirror",
        "found": 6,
        "read": 4,
        "rejected": {"field missing": 1, "image unreadable": 1},
        "splits": {"test": 1, "train": 3},
        "num_images": 3,
    }
    assert sorted(_bytes()) == ["counts.json", "rejected.parquet", "shard-00000.parquet"]
    table = shards.ShardStore(OUTPUT).read(["id", "split"])
    assert [tuple(row.values()) for row in table.to_pylist()] == [
        ("toy_set/0", "train"),
        ("toy_set/1", "train"),
        ("toy_set/2", "train"),
        ("toy_set/5", "test"),
    ]
    assert _rejected() == [
        ("toy_set/3", "image unreadable", "broken.png: none of JPEG, PNG, GIF, TIFF, BMP, WEBP, JPEG2000"),
        ("toy_set/4", "field missing", "field `picture`"),
    ]


def test_two_runs_and_two_workers_write_the_same_bytes(mirror: Path) -> None:
    _run()
    first = _bytes()
    _run()
    assert _bytes() == first
    _run(workers=2)
    assert _bytes() == first


def test_the_order_is_the_published_one_whoever_is_first(mirror: Path) -> None:
    class Backwards(Executor):
        """Runs its tasks in reverse order, once all are submitted."""

        def __init__(self) -> None:
            self.waiting: list[tuple[Future[Any], Any, Any]] = []

        def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
            future: Future[Any] = Future()
            self.waiting.append((future, fn, args))
            if len(self.waiting) == 4:  # distinct images of the toy dataset
                for future_, fn_, args_ in reversed(self.waiting):
                    inner = Inline().submit(fn_, *args_)
                    problem = inner.exception()
                    future_.set_exception(problem) if problem else future_.set_result(inner.result())
            return future

    dataset, settings = toyset.make_set(), make_params().normalize
    expected = list(normalize.rows(dataset, mirror, settings, Inline()))
    assert list(normalize.rows(dataset, mirror, settings, Backwards(), num_ahead=10)) == expected


def test_work_ahead_is_bounded(mirror: Path) -> None:
    taken = 0

    def read(_: Path) -> Iterator[Sample]:
        nonlocal taken
        for number in range(1000):
            taken += 1
            yield toyset.make_sample(str(number))

    rows = normalize.rows(toyset.make_set(read), mirror, make_params().normalize, Inline(), num_ahead=10)
    next(rows)
    assert taken == 11


def test_an_absent_dataset_is_an_empty_output() -> None:
    toyset.write_catalogue(toyset.CARD, toyset.CARD.model_copy(update={"id": "other", "title": "Other"}))
    Path("mirror/other").mkdir(parents=True)
    Path("mirror/other/a").touch()
    assert _run() == {
        "state": "absent",
        "origin": None,
        "reason": "not in mirror; put its files into a folder toy_set there",
        "found": 0,
        "read": 0,
        "rejected": {},
        "splits": {},
        "num_images": 0,
    }
    assert sorted(_bytes()) == ["counts.json", "rejected.parquet"]
    assert shards.count_rejected(OUTPUT) == 0


def test_what_a_reader_overlooks_is_rejected(mirror: Path, reading: Callable[[list[Any]], None]) -> None:
    png, other = Image("a", data=toyset.make_png(1)), Image("b", data=b"none")
    reading(
        [
            toyset.make_sample("1", png),
            toyset.make_sample("1", png),
            toyset.make_sample("2", png, question="\ud83d"),
            toyset.make_sample("3", png, other),
            toyset.make_sample("4", Image("c", path=Path("gone.png"))),
            toyset.make_sample("5"),
        ]
    )
    counts = _run()
    assert counts["found"] == 6
    assert counts["splits"] == {"train": 2}
    assert counts["num_images"] == 1
    assert _rejected() == [
        ("toy_set/1", "id repeated", "an earlier record has this id"),
        ("toy_set/2", "not UTF-8", "lone surrogate in a text"),
        ("toy_set/3", "image unreadable", "b: none of JPEG, PNG, GIF, TIFF, BMP, WEBP, JPEG2000"),
        ("toy_set/4", "image missing", "c: no file gone.png"),
    ]


def test_rejections_alone_are_a_result_and_nothing_is_not(mirror: Path, reading: Callable[[list[Any]], None]) -> None:
    reading([Rejected("toy_set/1", "toy_set", "", Reason.NOT_UTF8, "line 1", Provenance("a", "1"))])
    assert _run()["rejected"] == {"not UTF-8": 1}
    before = _bytes()
    reading([])
    with pytest.raises(SourceError, match=r"^mirror/toy_set: no record of toy_set found"):
        _run()
    assert _bytes() == before


def test_a_split_that_the_card_does_not_know_is_an_error(mirror: Path, reading: Callable[[list[Any]], None]) -> None:
    reading([toyset.make_sample("1", split="dev")])
    with pytest.raises(SourceError, match=r"^toy_set/1: split 'dev' is not on the card of toy_set, which has train, t"):
        _run()


@pytest.mark.parametrize("problem", [SourceError("half-copied"), OSError(errno.ENOSPC, "No space left on device")])
def test_a_failure_leaves_nothing_half_written(
    mirror: Path, reading: Callable[[list[Any]], None], problem: Exception
) -> None:
    reading([toyset.make_sample("1"), problem])
    with pytest.raises((SourceError, DiskFullError)):
        _run(row_group_rows=1)
    assert not OUTPUT.exists()
    assert [path.name for path in paths.PARTIAL.glob("data-samples*")] == ["data-samples-toy_set.lock"]


def test_an_image_that_another_machine_does_not_see_is_no_missing_image(mirror: Path) -> None:
    class Elsewhere(Executor):
        def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
            future: Future[Any] = Future()
            future.set_exception(BrokenImage(Reason.IMAGE_MISSING, "no file a.png"))
            return future

    with pytest.raises(OpenMedQError, match=r"^toy_set: a worker does not see an image that exists here; all machines"):
        list(normalize.rows(toyset.make_set(), mirror, make_params().normalize, Elsewhere()))
