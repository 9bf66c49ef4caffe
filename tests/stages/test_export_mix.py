import gc
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import pytest
import webdataset

from openmedq import commands, paths
from openmedq.cli import main
from openmedq.curate import export_formats, export_mix, forget
from openmedq.datasets.local.local import LocalDataset, make_card
from openmedq.errors import ExportError, ParamsError, StaleError
from openmedq.schema import Sample
from openmedq.storage.shards import ShardStore
from openmedq.storage.tables import read_index
from tests.curate.corpus import make_params

from . import owndata

TARGET = Path("out")


@pytest.fixture(autouse=True)
def _mix(empty_folder: None, monkeypatch: pytest.MonkeyPatch) -> None:
    owndata.write_mix()
    monkeypatch.setattr(export_mix, "SHARD_SIZE_BYTES", 3 * export_mix.IMAGE_SIZE_BYTES)


def _samples(role: str) -> dict[str, Sample]:
    index = read_index()
    index = index.filter([each == role for each in index["role"].to_pylist()])
    return {sample.id: sample for sample in ShardStore(paths.SAMPLES).take(index)}


def test_datasets_reads_the_parquet_files_with_their_images(tmp_path: Path) -> None:
    commands.export_mix(TARGET, "parquet")
    assert len(list(TARGET.glob("data/train-*.parquet"))) > 1
    loaded = datasets.load_dataset(str(TARGET), cache_dir=str(tmp_path / "cache"))  # by the card's configs
    assert set(loaded) == {"train", "evaluation"}
    for role, rows in loaded.items():
        samples = _samples(role)
        assert rows["id"] == list(samples)
        for row in rows:
            sample = samples[row["id"]]
            assert [image.size for image in row["images"]] == [(24, 24)] * len(sample.images)
            assert [turn["answer"] for turn in row["turns"]] == [turn.answer for turn in sample.turns]


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_webdataset_reads_the_tars_with_their_images() -> None:
    commands.export_mix(TARGET, "webdataset")
    urls = sorted(map(str, TARGET.glob("train-*.tar")))
    assert len(urls) > 1
    found = {}
    for item in webdataset.WebDataset(urls, shardshuffle=False).decode("pil"):
        images = [item[name] for name in sorted(item) if name.endswith("png")]
        found[item["json"]["id"]] = (len(images), item["json"]["turns"][-1]["answer"])
        assert all(image.size == (24, 24) for image in images)
    gc.collect()  # webdataset leaves the files open
    assert found == {key: (len(each.images), each.turns[-1].answer) for key, each in _samples("train").items()}


def test_the_llava_json_is_of_its_documented_form_and_is_read_back() -> None:
    commands.export_mix(TARGET, "llava")
    records = json.loads((TARGET / "train.json").read_text())
    samples = _samples("train")
    assert [record["id"] for record in records] == list(samples)
    for record in records:
        sample, talk = samples[record["id"]], record["conversations"]
        assert set(record) == {"id", "conversations", *(["image"] if sample.images else [])}
        assert [message["from"] for message in talk] == ["human", "gpt"] * len(sample.turns)
        assert talk[0]["value"].count("<image>") == len(sample.images)
        names = record.get("image", [])
        for name, image in zip([names] if isinstance(names, str) else names, sample.images, strict=True):
            assert (TARGET / "images" / name).read_bytes() == image.data
    declared = make_params(local={"back": {"folder": "out", "table": "train.json", "images": "images"}}).local["back"]
    back = [item for item in LocalDataset(make_card("back", declared)).read(TARGET) if isinstance(item, Sample)]
    assert [[turn.answer for turn in each.turns] for each in back] == [
        [turn.answer for turn in each.turns] for each in samples.values()
    ]


@pytest.mark.parametrize("form", ["llava", "parquet", "webdataset"])
def test_an_interrupted_export_goes_on_and_equals_a_whole_one(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    write = export_formats.FORMATS[form].write
    shards: list[Path] = []
    counting = replace(export_formats.FORMATS[form], write=lambda *each: (shards.append(each[1]), write(*each)))
    monkeypatch.setitem(export_formats.FORMATS, form, counting)
    commands.export_mix(Path("whole"), form)
    num_written = 0

    def stop(*arguments: Any) -> None:
        nonlocal num_written
        num_written += 1
        if num_written == 2:
            arguments[1].write_bytes(b"half")
            raise KeyboardInterrupt
        write(*arguments)

    monkeypatch.setitem(export_formats.FORMATS, form, replace(export_formats.FORMATS[form], write=stop))
    with pytest.raises(KeyboardInterrupt):
        commands.export_mix(TARGET, form)
    assert not (TARGET / "README.md").exists() and (TARGET / export_mix.STATE).exists()
    commands.export_mix(TARGET, form)
    assert num_written == len(shards) + 1  # the shard that was complete is not written again

    def files(root: Path) -> dict[str, bytes]:
        return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}

    assert files(TARGET) == files(Path("whole"))
    assert not list(TARGET.glob(".*")), "what an unfinished export needs is left in a finished one"


def test_sources_and_roles_are_selected() -> None:
    commands.export_mix(TARGET, "llava", sources=["own"], roles=["evaluation"])
    assert {path.name for path in TARGET.glob("*.json")} == {"evaluation.json", "croissant.json"}
    assert len(json.loads((TARGET / "evaluation.json").read_text())) == 1
    with pytest.raises(ParamsError, match=r"^--source: the mix has no row of slake; it has own, talks$"):
        commands.export_mix(Path("other"), "llava", sources=["slake"])
    with pytest.raises(ParamsError, match=r"^--role: the mix has no row of validation; it has train, evaluation$"):
        commands.export_mix(Path("other"), "llava", roles=["validation"])


def test_the_licence_policy_of_today_is_applied() -> None:
    paths.PARAMS.write_text(paths.PARAMS.read_text().replace("licences: any", "licences: commercial"))
    with pytest.raises(
        ExportError, match=r"^policy\.licences: commercial does not allow 2 rows of talks \(licence unknown\); run `dvc"
    ):
        commands.export_mix(TARGET, "llava")
    assert not TARGET.exists()
    commands.export_mix(TARGET, "llava", sources=["own"])


def test_rows_that_are_forgotten_since_are_not_exported() -> None:
    forget.forget("own/2")
    with pytest.raises(
        StaleError, match=r"^data/samples/own: has rows that `forget` excludes; run `dvc repro`$"
    ) as caught:
        commands.export_mix(TARGET, "llava")
    with pytest.raises(StaleError, match=str(caught.value)):
        commands.export_model(TARGET, "merged")
    assert not TARGET.exists()
    commands.export_mix(TARGET, "llava", sources=["talks"])


@pytest.mark.parametrize("spoil", [lambda: TARGET.write_text("x"), lambda: (TARGET / "sub").mkdir(parents=True)])
def test_another_folder_is_refused(spoil: Callable[[], object], capsys: pytest.CaptureFixture[str]) -> None:
    spoil()
    assert main(["export-mix", "out", "--format", "llava"]) == 1
    assert "error: out: exists and is not an unfinished export; choose another folder" in capsys.readouterr().err


def test_an_export_of_other_rows_is_refused() -> None:
    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export_mix.run(TARGET, "llava", fail, sources=["own"])
    with pytest.raises(
        ExportError, match=r"^out: contains an unfinished export of other rows or in another format; cho"
    ):
        commands.export_mix(TARGET, "llava")
