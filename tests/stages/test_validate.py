import json
import re
import shutil
import warnings
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from openmedq import paths
from openmedq.curate import deduplicate, mix
from openmedq.errors import ValidationError
from tests.curate.corpus import ROLES, Row, make_params, picture, row, write_sets

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # it imports modules that Python is giving up
    from openmedq.curate import validate

CARDS: dict[str, dict[str, Any]] = {
    "open_set": {},
    "secret": {"access": "credentialed"},
    "bench": {"kind": "benchmark", "roles": {"test": "evaluation"}, "classes": ["cat", "dog"]},
    "absent": {},
}


def _rows() -> list[Row]:
    return [
        row("open_set/1", "train", "Which?", "b", picture(1), task="multiple_choice", options=["a", "b"]),
        row("open_set/2", "train", "", "A chest film.", picture(2), task="caption"),
        row("open_set/3", "train", "Is it?", "yes", context="It is."),
        row("open_set/4", "train", "Is it?", "yes", context="It is."),
        row("open_set/5", "test", "What?", "a mass", picture(4)),
        row("secret/1", "train", "", "private text", picture(5), task="report"),
        row("secret/2", "train", "What now?", "more private text", picture(6)),
        row("secret/3", "test", "What then?", "private", picture(7)),
        row("bench/1", "test", "", "cat", picture(8), task="classification", labels=["cat"]),
        row("bench/2", "test", "", "", picture(9), task="classification"),
    ]


@pytest.fixture(scope="session")
def _template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("validate")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        write_sets(_rows(), CARDS)
        deduplicate.run(make_params())
        mix.run(make_params())
    return root


@pytest.fixture(autouse=True)
def _project(_template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(_template, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)


def _verdict() -> dict[str, Any]:
    verdict: dict[str, Any] = json.loads((paths.VALIDATION / "verdict.json").read_text())
    return verdict


def _red(**settings: Any) -> dict[str, list[str]]:
    """Statements that are not met, by table."""
    with pytest.raises(ValidationError) as caught:
        validate.run(make_params(validate=settings))
    assert "\n" not in str(caught.value)
    verdict = _verdict()
    red = [one for one in verdict["expectations"] if not one["success"]]
    assert f"{len(red)} of {verdict['num_expectations']}" in str(caught.value)
    assert red[0]["statement"] in str(caught.value)
    assert (paths.DATA_DOCS / "index.html").exists()
    return {table: [one["statement"] for one in red if one["table"] == table] for table in {r["table"] for r in red}}


def test_good_data_are_green_and_the_verdict_is_deterministic(tmp_path: Path) -> None:
    validate.run(make_params())
    files = (paths.VALIDATION / "verdict.json", paths.DATA_DOCS / "index.html")
    before = [path.read_bytes() for path in files]
    verdict = _verdict()
    assert verdict["success"]
    assert verdict["num_red"] == 0
    assert {one["table"] for one in verdict["expectations"]} == {"rows", "promises", "mix", "datasets"}
    validate.run(make_params())
    assert [path.read_bytes() for path in files] == before
    assert str(tmp_path) not in before[0].decode()
    assert {path.name for path in tmp_path.iterdir()} == {"data"}


def test_the_page_stands_alone_and_holds_no_record(tmp_path: Path) -> None:
    rows = _rows()
    rows[6]["id"] = "secret/1"
    write_sets(rows, CARDS)
    assert "ids are unique" in _red()["rows"]
    assert [path.name for path in paths.DATA_DOCS.rglob("*")] == ["index.html"]
    page = (paths.DATA_DOCS / "index.html").read_text(encoding="utf-8")
    assert not re.search(r"<script|<link|<img|@import|url\(|href=|src=|https?://", page)
    assert '<td class="bad">ids are unique</td>' in page
    for part in page.split("<table>")[1:]:  # no column is empty
        head, body = part.split("<tbody>")
        assert body.count("<td") == head.count("<th>") * body.count("<tr>") + head.count("<th class") * body.count(
            "<tr>"
        )
    assert page.count("Observed</th>") == 1
    assert not re.search(rf"{re.escape(str(tmp_path))}|private|secret", page)
    verdict = (paths.VALIDATION / "verdict.json").read_text()
    assert "secret/" not in verdict
    assert "private" not in verdict


def test_faults_of_rows() -> None:
    rows = _rows()
    rows[0]["turns"][0]["options"] = ["a", "c"]
    rows[1]["images"] = []
    rows[2]["turns"][0]["answer"] = " "
    rows[3]["id"] = "open_set/3"
    rows[3]["turns"][0]["answer"] = "x" * 101
    rows[4]["task"] = "guess"
    rows[5]["images"][0]["height"] = 7
    rows[6]["licence"] = ""
    rows[6]["turns"][0]["question"] = ""
    rows[7]["split"] = "dev"
    rows[8]["labels"] = ["cow"]
    write_sets(rows, CARDS)
    assert _red(max_answer_chars=100)["rows"] == [
        "answers are not empty",
        "answers have at most 100 characters",
        "answers of multiple choice are among the options",
        "ids are unique",
        "images are there if the task needs one",
        "images have sides of at least 8 px",
        "labels are among the classes",
        "licences are stated",
        "questions are there if the task needs one",
        "splits are on the cards",
        "tasks are known",
    ]
    red = {one["statement"]: one for one in _verdict()["expectations"] if not one["success"]}
    assert red["answers are not empty"]["examples"] == ["open_set/3"]
    assert red["answers are not empty"]["observed"] == {"open_set": "1 of 5 rows"}
    assert (red["ids are unique"]["num_unexpected"], red["ids are unique"]["num_rows"]) == (2, 10)
    credentialed = red["images have sides of at least 8 px"]
    assert (credentialed["examples"], credentialed["observed"]) == ([], {"secret": "1 of 3 rows"})


def test_faults_of_the_mix() -> None:
    path = paths.MIX / "index.parquet"
    table = pq.read_table(path)
    index = {entry["id"]: entry for entry in table.to_pylist()}
    index["open_set/1"]["row"] = 5
    index["open_set/2"]["row"] = 0
    index["open_set/3"]["source"] = "nowhere"
    index["secret/1"]["weight"] = 0
    twice = {**index["secret/2"], "role": "practice"}
    loser = {**index["open_set/3"], "id": "open_set/4", "source": "open_set", "row_group": 1, "row": 1}
    index["bench/1"]["role"] = "train"  # with the image and the text of an evaluation row
    index["secret/3"]["access"] = "open"
    index["bench/2"]["weight"] = float("nan")
    pq.write_table(pa.Table.from_pylist([*index.values(), twice, loser], schema=table.schema), path)
    rows = _rows()
    rows[8] |= {key: rows[9][key] for key in ("turns", "images", "labels")}
    write_sets(rows, CARDS)
    assert _red()["mix"] == [
        "entries have the split, task, licence, access and number of images of their row",
        "entries point at the row of their id",
        "ids are unique",
        "no row of an evaluation split is trained on",
        "no row with a duplicate decision is in the mix",
        "no training row repeats an evaluation row",
        "roles are known",
        "sources are in the catalogue",
        "weights are above 0",
    ]
    red = {one["statement"]: one for one in _verdict()["expectations"] if not one["success"]}
    assert red["no row of an evaluation split is trained on"]["examples"] == ["bench/1"]
    assert red["weights are above 0"]["observed"] == {"bench": "1 of 2 rows", "secret": "1 of 4 rows"}
    facts = red["entries have the split, task, licence, access and number of images of their row"]
    assert (facts["observed"], facts["examples"]) == ({"secret": "1 of 4 rows"}, [])


@pytest.mark.parametrize("name", ["open_set", "secret"])
def test_missing_entries_and_counts_are_red(name: str) -> None:
    path = paths.MIX / "index.parquet"
    index = pq.read_table(path)
    pq.write_table(index.filter(pc.not_equal(index["id"], f"{name}/1")), path)
    assert _red() == {"datasets": ["mix = rows in the index"]}
    path = paths.MIX / "waterfall.json"
    waterfall = json.loads(path.read_text())
    del waterfall[name]
    path.write_text(json.dumps(waterfall))
    assert "read = rows in the shards" in _red()["datasets"]


def test_faults_of_datasets() -> None:
    path = paths.MIX / "waterfall.json"
    waterfall = json.loads(path.read_text())
    waterfall["nowhere"] = waterfall.pop("absent")
    waterfall["open_set"]["found"] += 1
    waterfall["open_set"]["mix"]["train"] -= 1
    waterfall["secret"] |= {"found": 10, "read": 2, "rejected": {"broken": 8}}
    path.write_text(json.dumps(waterfall))
    assert _red(min_rows=6) == {
        "datasets": [
            "at most 50% of the records are rejected",
            "datasets are in the catalogue",
            "found = read + rejected",
            "mix = rows in the index",
            "read = duplicate + kept out + mix",
            "read = rows in the shards",
            "the mix has at least 6 training rows",
        ],
    }
    [uneven] = [one for one in _verdict()["expectations"] if one["statement"] == "read = rows in the shards"]
    assert uneven["observed"]["secret"] == "found 10 records, rejected 8, read 2, num_rows 3"


def test_no_rows_at_all_are_red_not_broken() -> None:
    write_sets([], CARDS)
    deduplicate.run(make_params())
    mix.run(make_params())
    assert _red() == {"datasets": ["the mix has at least 1 training rows"]}


def test_a_row_that_deduplicate_keeps_does_not_repeat_an_evaluation_row() -> None:
    """Two independent comparisons of texts: what is equal for the check must be equal for `deduplicate` too."""
    texts = [
        "Is it\tso?",
        "IS IT SO?",
        "İs it so?",
        "is it so",
        "ıs it so?",
        "is\u00a0it so",
        "ſ it",
        "S it",
        "K",
        "\u212a",
        "<P>is it &LT; so",
        "<p>is it &lt;  SO",
    ]
    rows = [row(f"open_set/{number}", "train", text, "yes") for number, text in enumerate([*texts, "other"])]
    rows += [row(f"bench/{number}", "test", text, "Yes") for number, text in enumerate(texts)]
    write_sets(rows, {**CARDS, "bench": {"roles": ROLES}})
    deduplicate.run(make_params())
    mix.run(make_params())
    validate.run(make_params())


def test_records_excluded_by_request_are_no_fault() -> None:
    path = paths.MIX / "waterfall.json"
    waterfall = json.loads(path.read_text())
    kept_back = {"forgotten": 3, "language excluded": 3, "answer withheld": 3}
    waterfall["secret"]["rejected"] = kept_back | {"broken": 2}
    waterfall["secret"]["found"] = waterfall["secret"]["read"] + 11
    path.write_text(json.dumps(waterfall))
    validate.run(make_params())
    waterfall["secret"]["rejected"] = {"broken": 11}
    path.write_text(json.dumps(waterfall))
    assert _red()["datasets"] == ["at most 50% of the records are rejected"]


def _publish(**published: dict[str, Any]) -> None:
    """Write the datasets as fetched, with the given numbers on their cards."""
    cards = {name: CARDS[name] | given for name, given in published.items()}
    write_sets(_rows(), CARDS | cards, origins=dict.fromkeys(cards, "official"))


def test_a_fetched_dataset_has_about_as_many_records_as_published() -> None:
    """The datasets have 5, 3 and 2 records. The counts of a credentialed dataset may be shown."""
    _publish(open_set={"published_rows": {"train": 2, "test": 1}}, secret={"published_rows": {"train": 6}})
    validate.run(make_params())
    _publish(
        open_set={"published_rows": {"train": 2}},
        secret={"published_rows": {"train": 377_110}},
        bench={"published_rows": {"test": 1632}, "samples_per_row": 20},
    )
    statement = "0.5 to 2 times as many records are found as published"
    expected = {
        "bench": "found 2 records, published 32,640, rejected 0",
        "open_set": "found 5 records, published 2, rejected 0",
        "secret": "found 3 records, published 377,110, rejected 0",
    }
    with pytest.raises(ValidationError) as raised:
        validate.run(make_params())
    told = "; ".join(f"{name}: {value}" for name, value in expected.items())
    assert f"in table datasets: {statement} ({told})" in str(raised.value)
    red = [one for one in _verdict()["expectations"] if not one["success"]]
    assert [(one["statement"], one["observed"]) for one in red] == [(statement, expected)]
    assert _red(min_published=0, max_published=2.4)["datasets"] == [
        "0 to 2.4 times as many records are found as published"
    ]


def test_a_local_data_folder_may_hold_a_part_of_a_dataset() -> None:
    cards = {name: {**card, "published_rows": {"train": 10**6}} for name, card in CARDS.items()}
    write_sets(_rows(), cards, origins={"open_set": "mirror", "secret": "miniature"})
    validate.run(make_params())
