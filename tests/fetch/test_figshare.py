"""A file of a figshare collection is found by its article's title and its own name, and is what figshare states."""

from __future__ import annotations

import asyncio
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openmedq.config import Execution
from openmedq.datasets.card import File
from openmedq.errors import AcquisitionError, ChecksumError, PassingError
from openmedq.fetch.client import Client
from openmedq.fetch.hosts import figshare
from tests.fetch.conftest import Fetch, make_set, read_all
from tests.servers import Server, faults, serve

COLLECTION = "https://api.figshare.com/v2/collections/7/articles"
FILES = "https://api.figshare.com/v2/articles/3/files"
FILE = File(path="One.zip", url=f"{COLLECTION}#One/*.zip")
MD5 = hashlib.md5(b"PK").hexdigest()
ARTICLES = [{"id": 2, "title": "Two: more"}, {"id": 3, "title": "one_A set"}]
HELD = [
    {"id": 8, "name": "readme.txt", "size": 2, "computed_md5": MD5},
    {"id": 9, "name": "Its.ZIP", "size": 2, "computed_md5": MD5},
]


def publish(articles: Any = ARTICLES, held: Any = HELD) -> dict[str, bytes | Path]:
    answers = {COLLECTION: articles, FILES: held}
    return {url: data if isinstance(data, bytes) else json.dumps(data).encode() for url, data in answers.items()}


def describe(server: Server, *files: File) -> list[File]:
    async def ask() -> list[File]:
        async with Client(Execution(endpoints=server.endpoints, attempts=2, backoff_s=0.01)) as client:
            return await figshare.describe(client, files)

    return asyncio.run(ask())


def test_the_file_is_found_and_described() -> None:
    other = File(path="b", url="https://example.org/b")
    with serve(publish()) as server:
        assert describe(server, other, FILE) == [
            other,
            File(path="One.zip", url="https://ndownloader.figshare.com/files/9", size_bytes=2, md5=MD5),
        ]
        assert [request.query for request in server.requests] == ["page_size=1000"] * 2


def test_it_is_fetched_and_held_to_its_md5(fetch: Fetch) -> None:
    files = publish() | {"https://ndownloader.figshare.com/files/9": b"PK"}
    with serve(files) as server:
        assert read_all(fetch(server, make_set((FILE,)))) == {"One.zip": b"PK"}
        server.requests.clear()
        fetch(server, make_set((FILE,)))
        assert not server.requests, "what is here is not asked for"
        Path("data/raw/toy_set/files/One.zip").unlink()
        server.faults.append(faults.change(b"XX").on("*amazonaws*"))
        with pytest.raises(ChecksumError, match=f"promised is {MD5}"):
            fetch(server, make_set((FILE,)))


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ({"articles": []}, "0 of figshare's titles are `One/.*`, which holds nothing"),
        ({"articles": ARTICLES[:1]}, "0 of figshare's titles are `One/.*`, which holds 'Two: more'"),
        ({"articles": [*ARTICLES, {"id": 4, "title": "One more"}]}, "2 of figshare's titles"),
        ({"articles": [{"id": "3/../4", "title": "One"}]}, "figshare gives it no number"),
        ({"articles": [{"title": "One"}]}, "figshare gives it no number"),
        ({"articles": [3]}, "expected a list of records"),
        ({"articles": {"message": "gone"}}, "expected a list of records"),
        ({"articles": b"<!DOCTYPE html>"}, "expected a list of records"),
        ({"articles": b"\xff"}, "expected a list of records"),
        ({"articles": b"[" * 100_000}, "expected a list of records"),
        ({"articles": [{"id": True, "title": "One"}]}, "figshare gives it no number"),
        ({"held": HELD[:1]}, "0 of figshare's names are `One/.*`, which holds 'readme.txt'"),
        ({"held": [*HELD, HELD[1]]}, "2 of figshare's names"),
        ({"held": [{**HELD[1], "size": 0}]}, "states no size or md5"),
        ({"held": [{**HELD[1], "size": True}]}, "states no size or md5"),
        ({"held": [{**HELD[1], "size": "2"}]}, "states no size or md5"),
        ({"held": [{**HELD[1], "computed_md5": None}]}, "states no size or md5"),
        ({"held": [{**HELD[1], "id": None}]}, "figshare gives it no number"),
    ],
)
def test_what_is_not_there_or_not_clear_is_one_line(answers: dict[str, Any], message: str) -> None:
    with serve(publish(**answers)) as server, pytest.raises(AcquisitionError, match=message) as error:
        describe(server, FILE)
    assert "\n" not in str(error.value)


def test_an_outage_may_pass() -> None:
    with serve(publish(), [faults.status(503).on("api.figshare.com/*")]) as server, pytest.raises(PassingError):
        describe(server, FILE)


RECORDS = st.recursive(
    st.none() | st.integers() | st.text(max_size=8) | st.sampled_from(["One", "a.zip", MD5]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["id", "title", "name", "size", "computed_md5"]), inner, max_size=5)
    ),
    max_leaves=12,
)


class Answering:
    """A client that gives one answer to everything."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    async def read(self, url: str) -> bytes:
        return self.data


@settings(max_examples=200)
@given(answer=RECORDS)
def test_no_answer_crashes_it(answer: Any) -> None:
    client: Any = Answering(json.dumps(answer).encode())
    try:
        (found,) = asyncio.run(figshare.describe(client, [FILE]))
        assert found.url.removeprefix("https://ndownloader.figshare.com/files/").lstrip("-").isdigit()
    except AcquisitionError as error:
        assert len(str(error).splitlines()) == 1
