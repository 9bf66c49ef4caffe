"""Own data on disk: images in folders, and a table or LLaVA's JSON; and the stages that bring them into a mix."""

import csv
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from openmedq import paths
from openmedq.config import Params
from openmedq.config.render import render
from openmedq.curate import deduplicate, mix, normalize
from openmedq.datasets import registry
from openmedq.datasets.local.local import LocalDataset, make_card
from openmedq.fetch import download
from openmedq.schema import Rejected, Sample
from openmedq.storage.shards import REJECTED, ShardStore
from openmedq.storage.tables import read_table
from tests.curate.corpus import make_params

from . import toyset

COLUMNS = {"question": "q", "answer": "a", "image": "file"}
DECLARED: dict[str, Any] = {
    "folder": "own",
    "table": "table.csv",
    "images": "img",
    "columns": COLUMNS,
    "licence": "CC-BY-4.0",
    "is_private": False,
}


def write_images(*names: str, folder: Path = Path("own/img")) -> None:
    """Different images, one for each name."""
    for number, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(toyset.make_png(sum(name.encode()) + number))


def write_csv(rows: Iterable[Mapping[str, str]], path: Path = Path("own/table.csv")) -> None:
    rows = list(rows)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def write_json(records: Any, path: Path = Path("own/table.json")) -> None:
    path.write_text(json.dumps(records), encoding="utf-8")


def read(**changes: Any) -> tuple[dict[str, Sample], dict[str, Rejected]]:
    """Samples and rejected rows of the declared dataset `own`, by id without the dataset."""
    declared = make_params(local={"own": {**DECLARED, **changes}}).local["own"]
    items = list(LocalDataset(make_card("own", declared)).read(Path("own")))
    samples = {item.id.removeprefix("own/"): item for item in items if isinstance(item, Sample)}
    return samples, {item.id.removeprefix("own/"): item for item in items if isinstance(item, Rejected)}


def build(*, policy: str = "any", **declared: dict[str, Any]) -> Params:
    """Run the stages from `download` to `mix` on the declared datasets, which are the whole catalogue."""
    params = make_params(local=declared, policy={"licences": policy})
    toyset.write_catalogue(*(make_card(name, local) for name, local in params.local.items()))
    for name in params.local:
        dataset = registry.load(name)
        download.run(params, dataset)
        normalize.run(params, dataset)
    deduplicate.run(params)
    mix.run(params)
    return params


def read_rows(name: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The normalized rows of a dataset, and its rejected ones."""
    folder = paths.SAMPLES / name
    columns = ["id", "split", "licence", "turns", "groups", "images.list.element.image_id"]
    return ShardStore(folder).read(columns).to_pylist(), read_table(folder / REJECTED).to_pylist()


SECRET = "Has the patient of ward 7 a fracture?"  # of the private dataset


def write_mix() -> None:
    """An open dataset with a duplicate, a missing image and an image of its test split; a private dataset of talks."""
    names = [f"{number}.png" for number in range(6)]
    write_images(*names)
    rows = [{"q": f"Where is {name}?", "a": "left", "file": name, "s": "train"} for name in names]
    rows[5]["s"] = "test"
    rows += [
        rows[0],
        {**rows[0], "file": "none.png"},
        {**rows[5], "q": "How many are there?", "a": "two", "s": "train"},
    ]
    write_csv(rows)
    talk = [{"from": "human", "value": SECRET}, {"from": "gpt", "value": "No."}]
    pair = [{"from": "human", "value": "<image>\n<image>\n<image>\nDiffer?"}, {"from": "gpt", "value": "Yes."}, *talk]
    write_json([{"conversations": talk}, {"image": names[:3], "conversations": pair}])
    first = {**DECLARED, "columns": COLUMNS | {"split": "s"}, "citation": "Own et al.", "title": "Own"}
    second = {**DECLARED, "table": "table.json", "columns": None, "is_private": True, "licence": "house rules"}
    paths.PARAMS.write_text(render(build(own=first, talks=second)))
