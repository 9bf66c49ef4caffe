import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from openmedq import paths
from openmedq.curate import deduplicate, mix, normalize
from openmedq.datasets import registry
from openmedq.errors import StaleError
from openmedq.fetch import download, manifest
from openmedq.schema import INDEX_SCHEMA, VERDICT_SCHEMA
from tests.curate.corpus import make_params, row, write_sets

from . import toyset

ROWS = [
    *(row(f"z_first/{number}", "train", f"question {number}", "yes") for number in range(7)),
    row("z_first/7", "validation", "v", "yes"),
    row("z_first/8", "test", "t", "yes"),
    *(row(f"a_second/{number}", "train", f"other {number}", "no") for number in range(3)),
    row("bench/1", "train", "", "cat"),
    row("bench/2", "test", "", "dog"),
]
CARDS: dict[str, dict[str, Any]] = {
    "z_first": {},
    "a_second": {},
    "bench": {"kind": "benchmark", "roles": {"train": "evaluation", "test": "evaluation"}},
    "absent": {},
}
VERDICTS = [
    ("a_second/0", "z_first/0", "duplicate exact", "same pixels", None),
    ("z_first/1", "z_first/0", "duplicate perceptual", "same look", 0.9),
    ("z_first/2", "z_first/8", "in evaluation", "near text", 0.9),
    ("z_first/3", "bench/1", "evaluation image", "same look", None),
]


@pytest.fixture(autouse=True)
def _project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_sets(ROWS, CARDS, rejected={"a_second": {"answer empty": 2}})
    paths.VERDICTS.mkdir(parents=True)
    table = pa.table([list(column) for column in zip(*VERDICTS, strict=True)], schema=VERDICT_SCHEMA)
    pq.write_table(table, paths.VERDICTS / "verdicts.parquet")


def _run(**settings: Any) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    mix.run(make_params(mix=settings))
    table = pq.read_table(paths.MIX / "index.parquet")
    assert table.schema.equals(INDEX_SCHEMA)
    return table.to_pylist(), json.loads((paths.MIX / "waterfall.json").read_text())


def test_the_index_points_at_its_rows_in_the_order_of_the_catalogue() -> None:
    index, _ = _run()
    assert [entry["id"] for entry in index] == [
        *("z_first/0", "z_first/4", "z_first/5", "z_first/6", "z_first/7", "z_first/8"),
        *("a_second/1", "a_second/2", "bench/1", "bench/2"),
    ]
    for entry in index:
        file = pq.ParquetFile(paths.SAMPLES / entry["source"] / entry["shard"])
        there = file.read_row_group(entry["row_group"]).slice(entry["row"], 1).to_pylist()[0]
        assert {name: there[name] for name in ("id", "source", "split", "task")} == {
            name: entry[name] for name in ("id", "source", "split", "task")
        }
        assert entry["weight"] == 1
    assert {entry["row_group"] for entry in index} == {0, 1}
    assert {entry["role"] for entry in index if entry["source"] == "bench"} == {"evaluation"}


def test_the_waterfall_tells_of_every_row() -> None:
    _, waterfall = _run()
    assert list(waterfall) == list(CARDS)
    assert waterfall["z_first"] == {
        "kind": "source",
        "state": "present",
        "found": 9,
        "read": 9,
        "rejected": {},
        "duplicate": {"duplicate perceptual": 1},
        "kept_out": {"evaluation image": 1, "in evaluation": 1},
        "mix": {"train": 4, "validation": 1, "evaluation": 1},
    }
    assert waterfall["a_second"]["found"] == 5
    assert waterfall["a_second"]["rejected"] == {"answer empty": 2}
    assert waterfall["absent"]["state"] == "absent"
    for rows in waterfall.values():
        assert rows["read"] == sum(sum(rows[part].values()) for part in ("duplicate", "kept_out", "mix"))


def test_roles_and_weights_in_force() -> None:
    index, waterfall = _run(
        roles={"z_first": {"validation": "train", "test": None}}, weights={"z_first": 0.5, "a_second": 0}
    )
    weights = {entry["id"]: entry["weight"] for entry in index}
    assert weights["z_first/7"] == 0.5
    assert waterfall["z_first"]["kept_out"] == {"evaluation image": 1, "in evaluation": 1, "role null": 1}
    assert waterfall["a_second"]["kept_out"] == {"weight 0": 2}
    assert waterfall["bench"]["mix"] == {"evaluation": 2}
    assert weights["bench/1"] == 1


def test_a_row_lost_on_the_way_is_noticed() -> None:
    (paths.SAMPLES / "z_first" / "shard-00001.parquet").unlink()
    with pytest.raises(StaleError, match=r"data/samples/z_first: counts.json has 9 rows, the shards have 5"):
        _run()
    assert not paths.MIX.exists()


@pytest.mark.slow
def test_vqa_rad_repeats_itself_as_its_publishers_say(real_data: Path) -> None:
    """Of the train split, three rows repeat another, one a test row, and one a test row in other words."""
    toyset.write_catalogue(registry.load("vqa_rad").card)
    params = make_params(
        download={"mirror": str(real_data)}, normalize={"max_side_px": 256}, deduplicate={"near_images": False}
    )
    manifest.run(params)
    download.run(params, registry.load("vqa_rad"))
    normalize.run(params, registry.load("vqa_rad"))
    deduplicate.run(params)
    _, waterfall = _run()
    assert waterfall["vqa_rad"]["found"] == waterfall["vqa_rad"]["read"] == 2248
    assert waterfall["vqa_rad"]["duplicate"] == {"duplicate exact": 3}
    assert waterfall["vqa_rad"]["kept_out"] == {"in evaluation": 2}
    assert waterfall["vqa_rad"]["mix"] == {"train": 1792, "evaluation": 451}


def _write_licences(cards: dict[str, dict[str, Any]]) -> None:
    own = {"z_first/0": "CC-BY-NC-4.0", "z_first/4": "some words", "z_first/5": ""}
    own |= {"z_first/8": "CC BY-ND", "a_second/1": "CC-BY-4.0"}
    rows = [{**each, "licence": own.get(each["id"], "CC0-1.0")} for each in ROWS]
    write_sets(rows, cards, rejected={"a_second": {"answer empty": 2}})


@pytest.mark.parametrize(
    ("policy", "roles", "kept_out"),
    [
        ("any", {}, {}),
        ("research", {}, {"licence unknown": 2}),
        ("commercial", {}, {"licence CC-BY-NC-4.0: not commercial": 1, "licence unknown": 2}),
        ("redistributable", {}, {"licence CC-BY-ND: not redistributable": 1, "licence unknown": 2}),
        ("redistributable", {"test": None}, {"role null": 1, "licence unknown": 2}),
    ],
)
def test_rows_that_the_policy_refuses_are_kept_out_with_the_reason(
    policy: str, roles: dict[str, None], kept_out: dict[str, int]
) -> None:
    _write_licences(CARDS)
    mix.run(make_params(policy={"licences": policy}, mix={"roles": {"z_first": roles}}))
    waterfall = json.loads((paths.MIX / "waterfall.json").read_text())
    assert waterfall["z_first"]["kept_out"] == {"evaluation image": 1, "in evaluation": 1, **kept_out}
    assert sum(waterfall["z_first"]["mix"].values()) == 6 - sum(kept_out.values())
    index = pq.read_table(paths.MIX / "index.parquet").to_pylist()
    assert {entry["id"]: entry["licence"] for entry in index}["a_second/1"] == "CC-BY-4.0"


def test_a_credentialed_set_is_kept_out_whole_where_the_policy_is_no_research() -> None:
    _write_licences(CARDS | {"a_second": {"access": "credentialed"}})
    for policy, kept_out in (("research", {}), ("commercial", {"credentialed: not commercial": 3})):
        deduplicate.run(make_params(policy={"licences": policy}))
        mix.run(make_params(policy={"licences": policy}))
        waterfall = json.loads((paths.MIX / "waterfall.json").read_text())
        assert waterfall["a_second"]["kept_out"] == kept_out
        assert waterfall["a_second"]["rejected"] == {"answer empty": 2}
