"""The contract of a dataset, tested over all of the registry: card, rows, streaming, miniature, errors."""

import hashlib
import inspect
import io
import re
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import PIL.Image
import pytest

from openmedq import synthetic
from openmedq.config import Normalize
from openmedq.datasets.card import Card
from openmedq.errors import SourceError
from openmedq.schema import Image, Rejected, Role, Sample, Task
from tests.datasets.conftest import BENCHMARKS, SETS, FolderOf, samples
from tests.datasets.first_rows import read_golden, summarize

PACKED = (".arrow", ".gz", ".npz", ".parquet", ".tgz", ".zip")
RowsOf = Callable[[str], list[Sample | Rejected]]
MODALITIES = {"pathology", "radiology", "microscopy", "mixed", "text"}

# By dataset: the rows of its miniature, and the reasons of those that are rejected.
MINIATURES: dict[str, tuple[int, dict[str, int]]] = {
    "blood_mnist": (156, {}),
    "breast_ultrasound": (110, {}),
    "cxr8": (141, {}),
    "iu_xray": (98, {"answer empty": 2, "image missing": 3}),
    "medfmc_chest": (120, {}),
    "medfmc_colon": (120, {}),
    "medfmc_endo": (120, {}),
    "medmcqa": (116, {"answer withheld": 12}),
    "medqa": (96, {}),
    "mimic_cxr": (136, {"image missing": 1, "field missing": 2, "answer empty": 1}),
    "omnimedvqa": (192, {"image missing": 48}),
    "pathvqa": (145, {}),
    "pmc_oa": (293, {"image missing": 1}),
    "pmc_vqa": (120, {"answer empty": 1, "image missing": 1}),
    "pneumonia_mnist": (360, {}),
    "pubmedqa": (190, {"answer withheld": 10}),
    "retina_mnist": (156, {}),
    "roco": (145, {"answer empty": 1, "image missing": 1}),
    "slake": (257, {"language excluded": 128, "answer empty": 1}),
    "ubench": (133, {}),
    "vqa_med_2019": (123, {}),
    "vqa_rad": (2416, {}),
}

every_dataset = pytest.mark.parametrize("dataset_id", sorted(SETS))


def digest(folder: Path) -> dict[str, str]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def bytes_of(image: Image) -> bytes:
    assert (image.path is None) != (image.data is None), "a picture is a path or bytes, not both"
    return image.data if image.data is not None else image.path.read_bytes()


def strings_of(row: Sample | Rejected) -> Iterator[str]:
    yield from (row.id, row.source, row.split, row.provenance.file, row.provenance.record)
    if isinstance(row, Rejected):
        yield row.detail
        return
    yield from (row.licence, row.modality, *row.labels, *row.attributes, *row.attributes.values())
    yield from (image.image_id for image in row.images)
    for turn in row.turns:
        yield from (turn.question, turn.answer, turn.context, *turn.options, *turn.alternatives)


@pytest.fixture(scope="session")
def rows_of(miniature_of: FolderOf) -> RowsOf:
    return cache(lambda dataset_id: list(SETS[dataset_id].read(miniature_of(dataset_id))))


@every_dataset
def test_the_card_is_whole(dataset_id: str) -> None:
    card = SETS[dataset_id].card
    assert isinstance(card, Card)
    assert card.id == dataset_id
    assert all((card.title, card.homepage, card.citation, card.licence, card.files))
    assert card.modality in MODALITIES
    assert set(card.published_rows) == set(card.roles)
    assert (card.task is Task.CLASSIFICATION) == bool(card.classes)
    assert {*card.fitted, *card.scored} <= set(card.roles)
    assert bool(card.fitted) == bool(card.scored)
    assert not set(card.fitted) & set(card.scored)
    assert set(card.class_names) <= set(card.classes)
    assert len(set(card.readable_classes)) == len(card.classes)
    for name in card.readable_classes:
        assert re.fullmatch(r"[a-z]{2,}( [a-z]+)*", name), f"{name!r} is not readable"


def test_no_benchmark_trains() -> None:
    for benchmark in BENCHMARKS:
        assert set(SETS[benchmark].card.roles.values()) == {Role.EVALUATION}


@every_dataset
def test_the_first_sample_of_each_split_and_task_is_as_recorded(dataset_id: str, miniature_of: FolderOf) -> None:
    assert summarize(dataset_id, miniature_of(dataset_id)) == [
        each for each in read_golden() if each["source"] == dataset_id
    ]


@every_dataset
def test_ids_are_unique_and_say_their_set(dataset_id: str, rows_of: RowsOf, miniature_of: FolderOf) -> None:
    rows = rows_of(dataset_id)
    assert rows
    assert [row_id for row_id, number in Counter(row.id for row in rows).items() if number > 1] == []
    for row in rows:
        assert row.source == dataset_id
        assert row.id.startswith(f"{dataset_id}/")
        assert (miniature_of(dataset_id) / row.provenance.file).is_file()
        assert row.provenance.record
        assert "\n" not in row.id + row.split + row.provenance.record


@every_dataset
def test_splits_have_roles_and_all_of_them_are_in_the_miniature(dataset_id: str, rows_of: RowsOf) -> None:
    roles = SETS[dataset_id].card.roles
    assert {sample.split for sample in samples(rows_of(dataset_id))} <= set(roles)
    assert {row.split for row in rows_of(dataset_id) if row.split} == set(roles)  # a hidden test is rejected as a whole


def test_each_miniature_has_the_rows_and_the_faults_that_its_readers_must_handle(
    rows_of: RowsOf,
) -> None:
    found = {}
    for dataset_id in SETS:
        reasons = Counter(row.reason.value for row in rows_of(dataset_id) if isinstance(row, Rejected))
        found[dataset_id] = (len(rows_of(dataset_id)), dict(reasons))
    assert found == MINIATURES


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("vqa_rad", "slake"),
        ("vqa_rad", "vqa_med_2019"),
        ("vqa_rad", "pmc_oa"),
        ("pmc_oa", "pmc_vqa"),
        ("pmc_oa", "roco"),
    ],
)
def test_two_miniatures_share_one_image(one: str, other: str, rows_of: RowsOf) -> None:
    ours, theirs = (
        {bytes_of(image) for sample in samples(rows_of(each)) for image in sample.images} for each in (one, other)
    )
    assert len(ours & theirs) == 1, "deduplication has something to find"


@every_dataset
def test_settings_are_named_as_in_params(dataset_id: str) -> None:
    _, *settings = inspect.signature(SETS[dataset_id].read).parameters.values()
    for setting in settings:
        assert setting.default == getattr(Normalize(), setting.name)


@every_dataset
def test_samples_agree_with_their_card(dataset_id: str, rows_of: RowsOf) -> None:
    card = SETS[dataset_id].card
    for sample in samples(rows_of(dataset_id)):
        assert sample.task in (card.task, *card.other_tasks)
        assert card.modality == "mixed" or sample.modality == card.modality
        assert sample.licence
        assert sample.turns
        if sample.task in (Task.VQA, Task.CAPTION, Task.REPORT, Task.CLASSIFICATION):
            assert sample.images
        if sample.task is Task.TEXT_QA:
            assert not sample.images
        assert set(sample.labels) <= set(card.classes)
        for turn in sample.turns:
            assert turn.answer or card.is_multi_label
            is_asked = sample.task in (Task.VQA, Task.MULTIPLE_CHOICE, Task.TEXT_QA)
            if sample.task is not Task.REPORT:  # which may ask for a section by name
                assert bool(turn.question) == is_asked, "the wording of other tasks is the prompt's business"
            assert not turn.options or turn.answer in turn.options
        assert sample.attributes.get("answer_type", "open") in ("open", "closed")
        assert "" not in sample.attributes.values()


@every_dataset
def test_all_text_is_utf8_and_stripped(dataset_id: str, rows_of: RowsOf) -> None:
    for row in rows_of(dataset_id):
        for text in strings_of(row):
            text.encode()
            assert text == text.strip()


@every_dataset
def test_pictures_can_be_decoded_and_one_name_is_one_picture(dataset_id: str, rows_of: RowsOf) -> None:
    named: dict[str, str] = {}
    for sample in samples(rows_of(dataset_id)):
        for image in sample.images:
            data = bytes_of(image)
            assert (
                named.setdefault(image.image_id, hashlib.sha256(data).hexdigest()) == hashlib.sha256(data).hexdigest()
            )
            with PIL.Image.open(io.BytesIO(data)) as picture:
                picture.load()


@every_dataset
def test_read_streams_and_gives_the_same_rows_again(dataset_id: str, rows_of: RowsOf, miniature_of: FolderOf) -> None:
    assert rows_of(dataset_id) == list(SETS[dataset_id].read(miniature_of(dataset_id)))
    rows = SETS[dataset_id].read(miniature_of(dataset_id))
    assert isinstance(rows, Iterator)
    next(rows)
    rows.close()  # closes what is open, without a warning


@every_dataset
def test_the_miniature_depends_on_the_seed_alone(dataset_id: str, tmp_path: Path, miniature_of: FolderOf) -> None:
    before = digest(miniature_of(dataset_id))
    (tmp_path / "again").mkdir()  # the folder may exist
    synthetic.write(dataset_id, tmp_path / "again", seed=0)
    synthetic.write(dataset_id, tmp_path / "other", seed=1)
    assert digest(tmp_path / "again") == before
    assert set(digest(tmp_path / "other").values()).isdisjoint(before.values())


@every_dataset
def test_the_miniature_has_the_published_names(dataset_id: str, miniature_of: FolderOf) -> None:
    raw = miniature_of(dataset_id)
    for file in SETS[dataset_id].card.files:
        assert (raw / file.path).is_file() or (raw / file.path).with_suffix("").is_dir(), file.path


@every_dataset
def test_an_empty_or_absent_folder_is_one_line(dataset_id: str, tmp_path: Path) -> None:
    for raw in (tmp_path, tmp_path / "absent"):
        with pytest.raises(SourceError) as error:
            list(SETS[dataset_id].read(raw))
        assert "\n" not in str(error.value)
        assert str(raw) in str(error.value)


@every_dataset
@pytest.mark.parametrize("spoil", ["cut", "empty"])
def test_a_spoilt_file_is_one_line_or_rejected_rows(dataset_id: str, spoil: str, copy_of: FolderOf) -> None:
    raw = copy_of(dataset_id)
    num_rows = len(list(SETS[dataset_id].read(raw)))
    num_errors = 0
    paths = [path for path in sorted(raw.rglob("*")) if path.is_file() and path.suffix not in (".jpg", ".png")]
    for path in paths[:14]:  # of ROCO's 36 lists, each kind is among them
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2] if spoil == "cut" else b"")
        try:
            found = len(list(SETS[dataset_id].read(raw)))
            # A cut text yields its whole rows, and one more that is rejected.
            assert found <= num_rows + 1 if spoil == "cut" else found == num_rows
            # A sibling lists the record that is cut, too.
            assert path.suffix not in PACKED or 0 <= found - num_rows <= 1, path
        except SourceError as error:
            num_errors += 1
            assert "\n" not in str(error)
            assert path.name in str(error)
        path.write_bytes(whole)
    assert num_errors or spoil == "cut"


@pytest.mark.parametrize("dataset_id", sorted(key for key in SETS if not key.startswith("medfmc")))
@pytest.mark.parametrize("name", ["The Set", "snapshots/a9083ce", "data/versions/3"])
def test_files_may_lie_deeper(copy_of: FolderOf, tmp_path: Path, dataset_id: str, name: str) -> None:
    raw = copy_of(dataset_id)
    expected = [(row.id, type(row)) for row in SETS[dataset_id].read(raw)]
    deeper = tmp_path / "raw" / name
    deeper.parent.mkdir(parents=True)
    raw.rename(deeper)
    assert [(row.id, type(row)) for row in SETS[dataset_id].read(tmp_path / "raw")] == expected
