import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from openmedq import paths
from openmedq.cli import main
from openmedq.curate import forget, normalize
from openmedq.datasets import registry
from openmedq.errors import ParamsError, StaleError
from openmedq.fetch import download, manifest
from openmedq.schema import Groups, Image, Sample
from tests.curate.corpus import make_params
from tests.stages import toyset

PICTURE = toyset.make_png(1)


@pytest.fixture(autouse=True)
def _toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three rows of a toy dataset, two of them of one patient."""
    monkeypatch.chdir(tmp_path)
    Path("mirror/toy_set").mkdir(parents=True)
    toyset.miniature(Path("mirror/toy_set"))
    toyset.write_catalogue(toyset.CARD)

    def sample(record: str, patient: str, study: str, name: str) -> Sample:
        made = toyset.make_sample(record, Image(name, data=PICTURE), question=f"Where is {record}?")
        return Sample(**{field: getattr(made, field) for field in made.__slots__} | {"groups": Groups(patient, study)})

    rows = [sample("1", "ann", "s1", "a.png"), sample("2", "ann", "s2", "b.png"), sample("3", "bob", "s3", "c.png")]
    monkeypatch.setattr(registry, "load", lambda _: toyset.make_set(lambda _: iter(rows)))
    _run()


def _run() -> dict[str, Any]:
    params = make_params(download={"mirror": "mirror"})
    manifest.run(params)
    download.run(params, registry.load("toy_set"))
    normalize.run(params, registry.load("toy_set"))
    counts: dict[str, Any] = json.loads((paths.SAMPLES / "toy_set" / "counts.json").read_text())
    return counts


@pytest.mark.parametrize(
    ("name", "number", "left"),
    [
        ("toy_set/1", 1, ["toy_set/2", "toy_set/3"]),
        ("ann", 2, ["toy_set/3"]),
        ("s3", 1, ["toy_set/1", "toy_set/2"]),
        ("c.png", 1, ["toy_set/1", "toy_set/2"]),
    ],
)
def test_what_is_forgotten_is_rejected_by_name(name: str, number: int, left: list[str]) -> None:
    assert forget.forget(name) == {"toy_set": number}
    assert name not in paths.FORGOTTEN.read_text()
    assert _run()["rejected"] == {"forgotten": number}
    assert pq.read_table(paths.SAMPLES / "toy_set" / "shard-00000.parquet")["id"].to_pylist() == left
    forget.forget(left[0])  # the list grows
    assert _run()["rejected"] == {"forgotten": number + 1}


def test_an_unknown_id_is_one_line_that_does_not_repeat_it() -> None:
    before = paths.FORGOTTEN.read_text()
    with pytest.raises(ParamsError, match="no row on disk has a record") as caught:
        forget.forget("secret-7")
    assert "secret-7" not in str(caught.value)
    with pytest.raises(ParamsError, match="no such dataset"):
        forget.forget("secret-7", "nowhere")
    with pytest.raises(ParamsError, match="the id is empty"):
        forget.forget(" ", "toy_set")
    assert paths.FORGOTTEN.read_text() == before


def test_a_dataset_that_is_not_normalized_yet_can_be_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["forget", "carl", "--set", "toy_set"]) == 0
    printed = capsys.readouterr().out
    assert "toy_set: no row on disk has this id" in printed and "remove data/show" in printed
    assert forget.read(paths.FORGOTTEN) == {"toy_set": [forget.digest("carl")]}


def test_the_list_of_a_dataset_that_is_not_declared_now_remains() -> None:
    paths.FORGOTTEN.write_text(forget.render({"own": ["b", "a"], "other": []}, ["toy_set"]))
    assert forget.forget("ann") == {"toy_set": 2}
    assert forget.read(paths.FORGOTTEN) == {"toy_set": [forget.digest("ann")], "own": ["a", "b"]}


def test_without_a_list_nothing_is_read() -> None:
    for text in ("- 1\n", "toy_set: 7\n", "[" * 3000):
        paths.FORGOTTEN.write_text(text)
        with pytest.raises(StaleError, match=r"forgotten\.yaml: not"):
            forget.read(paths.FORGOTTEN)
    paths.FORGOTTEN.unlink()
    with pytest.raises(StaleError, match=r"forgotten\.yaml: not"):
        _run()
