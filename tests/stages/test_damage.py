"""A damaged output of a stage is a one-line error in every stage that reads it: which file, which part, what to do."""

import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from openmedq import paths
from openmedq.curate import deduplicate, forget, mix
from openmedq.errors import StaleError
from openmedq.evaluation import evaluate, transfer
from openmedq.reporting import examples, results
from openmedq.storage.progress import NoLog
from openmedq.storage.shards import ShardStore, find_shards
from openmedq.storage.tables import INDEX, VERDICT_TABLE
from openmedq.tracking import lineage
from openmedq.training import train
from tests.curate.corpus import make_params
from tests.model import tiny
from tests.stages.results import replace_model, write_run
from tests.stages.test_evaluate import answer_by_rule

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # it imports deprecated modules
    from openmedq.curate import validate

ZSTD = b"\x28\xb5\x2f\xfd"  # a frame begins with it, and a page's data are one

pytestmark = pytest.mark.usefixtures("torch_on_one_thread")


def _train(workers: int = 1) -> None:
    settings = tiny.make_settings(max_steps=1).model_dump(mode="json")
    execution = {"device": "cpu", "workers": workers}
    train.run(make_params(train=settings, execution=execution), NoLog())


def _transfer() -> None:
    settings = tiny.make_settings(max_steps=1).model_dump(mode="json")
    own = {"benchmarks": ["bench"], "num_epochs": 1, "lr": 1e-3}
    transfer.run(make_params(train=settings, transfer=own), "scratch", NoLog())


READERS: dict[str, Callable[[], object]] = {
    "deduplicate": lambda: deduplicate.run(make_params()),
    "mix": lambda: mix.run(make_params()),
    "validate": lambda: validate.run(make_params()),
    "train": _train,
    "evaluate": lambda: evaluate.run(make_params(), NoLog()),
    "transfer": _transfer,
    "report": lambda: examples.read_examples({"open_vqa": "Open VQA"}, 9),
    "forget": lambda: forget.forget("open_vqa/0-Is"),
}


@pytest.fixture(scope="module")
def _template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project up to `evaluate`; each test damages a copy."""
    root = tmp_path_factory.mktemp("damage") / "project"
    root.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        replace_model(patch, answer_by_rule)
        write_run()
        catalogue = yaml.safe_load(paths.CATALOGUE.read_text(encoding="utf-8"))
        catalogue["datasets"]["bench"] |= {"is_multi_label": False, "fitted": [], "scored": []}
        paths.CATALOGUE.write_text(yaml.safe_dump(catalogue, sort_keys=False), encoding="utf-8")
        paths.FORGOTTEN.write_text("{}\n", encoding="utf-8")
        evaluate.run(make_params(), NoLog())
    return root


@pytest.fixture(autouse=True)
def _project(_template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(shutil.copytree(_template, tmp_path / "project"))
    replace_model(monkeypatch, answer_by_rule)


def flip(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


def find_pages(path: Path, group: int, column: str) -> list[range]:
    """The byte ranges of a column chunk's pages: of its dictionary, and of its rows."""
    row_group = pq.read_metadata(path).row_group(group)
    chunks = [row_group.column(number) for number in range(row_group.num_columns)]
    (chunk,) = [chunk for chunk in chunks if chunk.path_in_schema == column]
    start, middle = chunk.dictionary_page_offset, chunk.data_page_offset
    data, end = path.read_bytes(), start + chunk.total_compressed_size
    return [range(data.index(ZSTD, first), last) for first, last in ((start, middle), (middle, end))]


@pytest.mark.parametrize("reader", READERS)
def test_a_flipped_bit_of_a_shard(reader: str) -> None:
    for shard in paths.SAMPLES.glob("*/shard-*.parquet"):
        flip(shard, find_pages(shard, 0, "id")[-1][-1])
    with pytest.raises(StaleError) as raised:
        READERS[reader]()
    line = str(raised.value)
    assert "\n" not in line and "CRC" in line
    source = line.split("/")[2]
    assert line.startswith(f"data/samples/{source}/shard-0000") and ".parquet: row group 0 is damaged (" in line
    assert f"`dvc repro --force --single-item normalize@{source}`" in line


@pytest.mark.slow
def test_a_loader_process_passes_on_the_line() -> None:
    for shard in paths.SAMPLES.glob("*_vqa/shard-*.parquet"):
        flip(shard, find_pages(shard, 0, "images.list.element.image.bytes")[-1][-1])
    with pytest.raises(StaleError, match=r"^data/samples/\w+/shard-0000\d.parquet: row group \d is damaged .* again$"):
        _train(workers=2)


@pytest.mark.parametrize("reader", READERS)
def test_a_cut_or_absent_shard(reader: str) -> None:
    for shard in paths.SAMPLES.glob("*/shard-*.parquet"):
        shard.write_bytes(shard.read_bytes()[:-20])
    with pytest.raises(StaleError, match=r"^data/samples/\w+/shard-0000\d.parquet: is damaged \(.*; `dvc repro"):
        READERS[reader]()


OWN: list[tuple[Path, str, list[str]]] = [
    (INDEX, "mix", ["validate", "train", "evaluate", "transfer"]),
    (VERDICT_TABLE, "deduplicate", ["mix", "validate"]),
    (paths.EVALUATION / "predictions.parquet", "evaluate", ["report"]),
]


@pytest.mark.parametrize("damage", ["cut", "empty", "other columns", "flipped bit", "absent"])
@pytest.mark.parametrize(("path", "maker", "readers"), OWN, ids=lambda value: value if isinstance(value, str) else "")
def test_a_damaged_table(path: Path, maker: str, readers: list[str], damage: str) -> None:
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-9])
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "flipped bit":
        flip(path, find_pages(path, 0, "id")[-1][-1])
    elif damage == "other columns" and maker != "evaluate":
        pq.write_table(pa.table({"x": [1]}), path)
    else:
        path.unlink()
    for reader in readers:
        if maker == "evaluate" and not path.exists():
            continue  # the report is made without it
        with pytest.raises(StaleError, match=rf"^{path}: .*; `dvc repro .*{maker}` writes it") as raised:
            READERS[reader]()
        assert "\n" not in str(raised.value)
        assert (damage == "flipped bit") == ("row group 0 is damaged" in str(raised.value))


def test_a_flipped_bit_of_the_name_of_a_column() -> None:
    store = ShardStore(paths.SAMPLES / "open_vqa")
    shard = find_shards(store.folder)[0]
    data = bytearray(shard.read_bytes())
    footer = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    data[data.index(b"pixels_sha256", footer)] ^= 0x80  # no UTF-8
    shard.write_bytes(data)
    with pytest.raises(StaleError, match="is damaged"):
        next(store.scan(["id"]))


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"read": "many"}', "[" * 100_000])
def test_damaged_counts(text: str) -> None:
    (paths.SAMPLES / "open_vqa/counts.json").write_text(text)
    md5s = {"data/samples/open_vqa": "0"}
    others: list[Callable[[], Any]] = [lambda: lineage.read_inputs(md5s), results.read_results]
    for reader in (*(READERS[name] for name in ("deduplicate", "mix", "validate", "train")), *others):
        with pytest.raises(
            StaleError, match=r"^data/samples/open_vqa/counts.json: .*normalize@open_vqa` writes it again"
        ):
            reader()
