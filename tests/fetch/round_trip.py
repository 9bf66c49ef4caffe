"""A dataset from the servers to its rows: manifest, download and normalize, in this process and the current folder.

Its card is the real one with sizes and hashes of the miniature's files.
"""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pyarrow.parquet as pq
import pytest

from openmedq import paths
from openmedq.config import Params
from openmedq.curate import normalize
from openmedq.datasets import registry
from openmedq.datasets.card import Card, Dataset
from openmedq.fetch import addresses, download, manifest, needs
from openmedq.schema import Rejected
from openmedq.storage.decoding import Inline
from tests.curate.corpus import make_params
from tests.datasets.conftest import SETS
from tests.servers import Server, publish, serve
from tests.servers.exchange import Content
from tests.servers.official import place
from tests.servers.physionet import READER
from tests.stages import toyset

MIRROR = Path("mirror")  # empty
MEMBERS = ("read", "miniature", "more_files", "linked_images")
Rows = Counter[tuple[str, str, str]]  # id, split, and the reason of a rejected row


@dataclass(frozen=True)
class Published:
    """A dataset as it is served, with a card that agrees with the servers."""

    set_: Dataset
    files: Mapping[str, bytes | Path]  # by official address
    raw: Path  # its miniature

    @property
    def id(self) -> str:
        return self.set_.card.id

    @property
    def folder(self) -> Path:
        return needs.folder_of(self.id)


def publish_set(set_id: str, raw: Path) -> Published:
    module = SETS[set_id]
    files = publish(module.card, raw)
    members = {name: getattr(module, name) for name in MEMBERS if hasattr(module, name)}
    set_ = SimpleNamespace(card=pin(module.card, files), **members)
    return Published(cast(Dataset, set_), files, raw)


def pin(card: Card, files: Mapping[str, bytes | Path]) -> Card:
    """The card, with its sizes and hashes replaced by those of the served files."""
    pinned = []
    for file in card.files:
        if place(file) in files:
            content = Content(files[place(file)])
            found = {"about_bytes": content.size_bytes} | {
                name: getattr(content, name) for name in ("size_bytes", "sha256", "md5")
            }
            file = file.model_copy(update={key: found[key] for key in found if getattr(file, key) is not None})
        pinned.append(file)
    return card.model_copy(update={"files": tuple(pinned)})


def enter(published: Published, patch: pytest.MonkeyPatch) -> None:
    """Make the current folder a project of this dataset alone, with an empty local data folder."""
    patch.setattr(registry, "load", lambda _: published.set_)
    toyset.write_catalogue(published.set_.card)
    MIRROR.mkdir()


def make_settings(server: Server, **execution: Any) -> Params:
    quick = {"attempts": 6, "backoff_s": 0.001, "timeout_s": 5.0, "endpoints": server.endpoints, **execution}
    return make_params(download={"mirror": str(MIRROR), "fetch": True}, execution=quick)


def fetch(published: Published, server: Server, **execution: Any) -> dict[str, Any]:
    params = make_settings(server, **execution)
    manifest.run(params)
    download.run(params, registry.load(published.id))
    return cast(dict[str, Any], json.loads((paths.RAW / published.id / "origin.json").read_text()))


def read_rows(published: Published, server: Server) -> Rows:
    normalize.run(make_settings(server), registry.load(published.id))
    folder = paths.SAMPLES / published.id
    rows: Rows = Counter()
    for shard in sorted(folder.glob("shard-*.parquet")):
        rows.update((row["id"], row["split"], "") for row in pq.read_table(shard, columns=["id", "split"]).to_pylist())
    rejected = pq.read_table(folder / "rejected.parquet").to_pylist()
    rows.update((row["id"], row["split"], row["reason"]) for row in rejected)
    return rows


def expect_rows(published: Published) -> Rows:
    rows: Rows = Counter()
    for row in normalize.rows(published.set_, published.raw, make_params().normalize, Inline()):
        if isinstance(row, Rejected):
            rows[row.id, row.split, str(row.reason)] += 1
        else:
            rows[row.id, row.split, ""] += 1
    return rows


def go_round(published: Published, patch: pytest.MonkeyPatch) -> None:
    """Download the dataset, compare files and rows, and download again without requests."""
    enter(published, patch)
    for name, value in zip(addresses.VARIABLES["physionet.org"], READER, strict=True):
        patch.setenv(name, value)
    with serve(published.files, login="wget") as server:
        origin = fetch(published, server)
        assert (origin["state"], origin["origin"]) == ("present", "official")
        digests = {file.path: Content(published.files[place(file)]).sha256 for file in published.set_.card.files}
        assert digests.items() <= {entry["path"]: entry["sha256"] for entry in origin["files"]}.items()
        rows, expected = read_rows(published, server), expect_rows(published)
        assert rows == expected
        num_requests = len(server.requests)
        assert fetch(published, server) == origin
        assert len(server.requests) == num_requests, "present files are not requested again"
