"""A local classification dataset is a benchmark: it never trains, and transfer scores it beside published ones."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pyarrow.parquet as pq
import pytest
import yaml

from openmedq import paths
from openmedq.config import SCRATCH, Params
from openmedq.datasets import catalogue
from openmedq.errors import ParamsError, SourceError
from openmedq.evaluation import transfer
from openmedq.storage.tables import read_index
from tests.curate.corpus import make_params
from tests.recorded import Recorded
from tests.storage.drawing import save

from . import owndata, toyset

pytestmark = pytest.mark.usefixtures("empty_folder", "torch_on_one_thread")

BENCHMARK: dict[str, Any] = {"folder": "own", "task": "classification", "is_benchmark": True}
CLASSES = ("dark", "bright")
COLUMNS = {"answer": "finding", "image": "file", "patient": "mrn"}


def _draw(path: Path, seed: int, level: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(level, level + 100, (24, 24), np.uint8)
    path.write_bytes(save(PIL.Image.fromarray(pixels), "PNG"))


def _write_folders(*splits: str, folder: str = "own", classes: tuple[str, ...] = CLASSES, step: int = 150) -> None:
    """A folder per split, and in it one per class."""
    for place, split in enumerate(splits):
        for label, name in enumerate(classes):
            for number in range(4):
                seed = 1000 * place + 100 * label + number
                _draw(Path(folder, split, name, f"{number}.png"), seed, step * (label % 2))


def _write_table(num_patients: int = 10) -> None:
    """Two images of each patient, of one class; the table has no split."""
    rows = []
    for number in range(2 * num_patients):
        patient = number // 2
        _draw(Path(f"own/{number}.png"), number, 150 * (patient % 2))
        rows.append({"finding": CLASSES[patient % 2], "file": f"{number}.png", "mrn": f"P{patient}"})
    owndata.write_csv(rows)


def _run(benchmarks: tuple[str, ...] = ("own",), **settings: Any) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    named = {"benchmarks": benchmarks, "num_epochs": 2, "lr": 1e-3, "num_resamples": 20, "num_validation_parts": 2}
    params = make_params(transfer={**named, **settings})
    log = Recorded()
    transfer.run(params, SCRATCH, log)
    folder = paths.TRANSFER / SCRATCH
    predictions = pq.read_table(folder / transfer.PREDICTIONS).to_pylist()
    assert log.metrics and log.tables["scores"]
    return json.loads((folder / transfer.METRICS).read_text()), predictions


def test_a_folder_per_split_and_class_is_scored_on_its_test_split() -> None:
    _write_folders("train", "test")
    owndata.build(own=BENCHMARK)
    metrics, predictions = _run()
    counts = {"train": 4, "validation": 4, "test": 8}
    assert {part: metrics["own"][f"num_{part}_rows"] for part in counts} == counts
    tested = [row["id"] for row in read_index().to_pylist() if row["split"] == "test"]
    assert [row["id"] for row in predictions if row["method"] == transfer.FINE_TUNED] == tested
    assert {name for row in predictions for name in row["labels"]} == set(CLASSES)
    assert metrics["own"][SCRATCH]["macro_f1"] == metrics["mean"][SCRATCH]["macro_f1"]
    assert not any(name in json.dumps(metrics) for name in CLASSES), "the dataset is private"


def test_no_training_shows_its_images() -> None:
    _write_folders("train", "test")
    copied, own = Path("own/train/dark/0.png"), Path("vqa/img/new.png")
    _draw(own, 9, 100)
    own.with_name("copy.png").write_bytes(copied.read_bytes())
    owndata.write_csv(
        [{"q": "Where?", "a": "left", "file": name} for name in ("copy.png", "new.png")], Path("vqa/table.csv")
    )
    owndata.build(vqa={**owndata.DECLARED, "folder": "vqa"}, own=BENCHMARK)
    waterfall = json.loads((paths.MIX / "waterfall.json").read_text())
    assert waterfall["own"]["mix"] == {"evaluation": 16}
    assert waterfall["vqa"]["mix"] == {"train": 1}, waterfall["vqa"]


def test_without_a_split_it_is_divided_by_patients() -> None:
    _write_table()
    owndata.build(own={**BENCHMARK, "table": "table.csv", "columns": COLUMNS})
    metrics, predictions = _run(num_parts=2)
    rows, _ = owndata.read_rows("own")
    patients = {row["id"]: row["groups"]["patient"] for row in rows}
    tested = {row["id"] for row in predictions}
    assert tested and sum(metrics["own"][f"num_{part}_rows"] for part in ("train", "validation", "test")) == len(rows)
    assert {patients[row] for row in tested}.isdisjoint(patients[row] for row in patients.keys() - tested)


def test_the_mean_is_of_the_published_benchmarks() -> None:
    _write_folders("train", "test")
    _write_folders("train", "test", folder="other", classes=("a", "b"), step=0)
    owndata.build(own=BENCHMARK, other={**BENCHMARK, "folder": "other"})
    tree = yaml.safe_load(paths.CATALOGUE.read_text())
    tree["datasets"]["other"] |= {"local": None, "classes": ["a", "b"], "validated": []}
    paths.CATALOGUE.write_text(yaml.safe_dump(tree))
    metrics, _ = _run(("other", "own"))
    other, own = (metrics[name][SCRATCH] for name in ("other", "own"))
    assert metrics["mean"][SCRATCH]["auroc"] == other["auroc"] != own["auroc"]
    assert metrics["mean_of_frozen"][SCRATCH]["knn"]["auroc"] == other["knn"]["auroc"]


def _declare(**changes: Any) -> None:
    """Write the catalogue of `own` anew; its rows stay."""
    toyset.write_catalogue(owndata.make_card("own", make_params(local={"own": {**BENCHMARK, **changes}}).local["own"]))


def test_a_class_without_a_test_row_is_one_line_that_hides_names_of_private_data() -> None:
    _write_folders("train", "test")
    _write_folders("train", classes=("rare",))
    owndata.build(own=BENCHMARK)
    with pytest.raises(SourceError, match=r"^own: class 3 of 3, by name, has no test row; add rows of this class"):
        _run()
    _declare(is_private=False)
    with pytest.raises(SourceError, match=r"^own: class 'rare' has no test row"):
        _run()
    _declare(class_names={"dim": "dark"})
    with pytest.raises(SourceError, match=r"^own: no row has the class 'dim'; correct local\.own\.class_names"):
        _run()


def test_rows_of_one_class_are_no_benchmark() -> None:
    _write_folders("train", "test", classes=("dark",))
    owndata.build(own=BENCHMARK)
    with pytest.raises(SourceError, match=r"^own: all rows are of one class; a benchmark needs two"):
        _run()


def test_no_images_and_a_split_that_no_role_names() -> None:
    Path("own").mkdir(exist_ok=True)
    with pytest.raises(SourceError, match=r"^own: no folder with images"):
        owndata.read(**BENCHMARK, table=None, columns=None, images=".")
    _write_folders("train", "val")
    with pytest.raises(
        SourceError, match=r"^own: folders of splits \(train\) beside 1 others; name each split in roles"
    ):
        owndata.read(**BENCHMARK, table=None, columns=None, images=".")


def test_a_row_with_two_images_or_of_another_task_is_rejected() -> None:
    for name in ("a.png", "b.png"):
        _draw(Path("own", name), len(name), 0)
    rows = [{"finding": "x", "file": ["a.png"], "t": task} for task in ("classification", "caption")]
    owndata.write_json([*rows, {**rows[0], "file": ["a.png", "b.png"]}])
    columns = COLUMNS | {"patient": None, "task": "t"}
    samples, rejected = owndata.read(**BENCHMARK, table="table.json", columns=columns, images=".")
    assert list(samples) == ["1"]
    assert [each.detail.split(";")[0] for each in rejected.values()] == [
        "caption with 1 image",
        "classification with 2 images",
    ]


def _check(declared: dict[str, Any], *benchmarks: str) -> Params:
    params = make_params(local=declared, transfer={"benchmarks": benchmarks, "num_epochs": 1, "lr": 1e-3})
    cards = {name: owndata.make_card(name, each) for name, each in params.local.items()}
    catalogue.check_names(cards, params)
    return params


@pytest.mark.parametrize(
    ("declared", "line"),
    [
        ({"own": {**BENCHMARK, "is_benchmark": False}}, "own is a source of the mix; set local.own.is_benchmark: true"),
        ({"mine": BENCHMARK}, "transfer.benchmarks: no benchmark 'own'; there are mine"),
        ({"own": {**owndata.DECLARED, "is_benchmark": True}}, "local.own: is_benchmark: a benchmark needs task: class"),
        ({"own": {**BENCHMARK, "roles": {"a": "train", "b": "train"}}}, "local.own: roles: a benchmark with several"),
        ({"mean": BENCHMARK}, "local.mean"),
    ],
)
def test_a_wrong_declaration_is_one_line(declared: dict[str, Any], line: str) -> None:
    with pytest.raises(ParamsError) as caught:
        _check(declared, "own")
    assert line in str(caught.value) and "\n" not in str(caught.value)
    assert _check({"own": BENCHMARK}, "own").transfer.benchmarks == ("own",)
