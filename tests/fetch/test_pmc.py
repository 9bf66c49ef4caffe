import asyncio
from collections.abc import Iterable
from pathlib import Path

import pytest

from openmedq.config import Execution
from openmedq.datasets.card import LinkedImage
from openmedq.errors import AcquisitionError, TemporaryError
from openmedq.fetch import pmc
from openmedq.fetch.pmc import BUCKET, Address
from tests.servers import Server, bucket, faults, serve


def publish(*keys: str) -> dict[str, bytes | Path]:
    return {f"{BUCKET}/{key.replace('%', '%25')}": b"x" * 7 for key in keys}


def link(article: str, figure: str) -> LinkedImage:
    return LinkedImage(f"{article}_{figure}", article, figure)


def resolve(server: Server, pictures: Iterable[LinkedImage], folder: Path, **settings: int) -> int:
    quick = {"endpoints": server.endpoints, "attempts": 2, "backoff_s": 0.001, **settings}
    return asyncio.run(pmc.resolve(pictures, folder, Execution.model_validate(quick)))


def found(folder: Path) -> dict[str, Address]:
    return {address.name: address for address in pmc.read(folder)}


@pytest.mark.parametrize(
    ("keys", "figure", "expected"),
    [
        (["PMC1.1/a-g1.jpg", "PMC1.1/PMC1.1.xml"], "a-g1.jpg", "PMC1.1/a-g1.jpg"),
        (["PMC1.1/a.g1.jpg", "PMC1.1/a.g2.jpg"], "a.g1", "PMC1.1/a.g1.jpg"),
        (["PMC1.1/A-G1.JPEG"], "a-g1.jpg", "PMC1.1/A-G1.JPEG"),
        (["PMC1.1/a.jpg", "PMC1.1/a.gif"], "a.jpg", "PMC1.1/a.jpg"),
        (["PMC1.1/a.jpg", "PMC1.1/a.gif"], "a.tif", "several files match"),
        (["PMC1.1/a.pdf"], "a.jpg", "the article has no such file"),
        (["PMC1.1/a.s001.zip"], "a.s002", "the article has no such file"),
        (["PMC1.9/a.jpg", "PMC1.10/a.jpg", "PMC1.2/a.jpg"], "a.jpg", "PMC1.10/a.jpg"),
        (["PMC1.1/a.jpg", "PMC1.2/b.jpg"], "a.jpg", "the article has no such file"),
        (["PMC12.1/a.jpg"], "a.jpg", "the article is not in the bucket"),
        (["PMC1.1/deeper/a.jpg"], "a.jpg", "the article is not in the bucket"),
        (["PMC1.1/a b+c%d.jpg"], "a b+c%d.jpg", "PMC1.1/a%20b%2Bc%25d.jpg"),
    ],
)
def test_the_file_that_is_meant(keys: list[str], figure: str, expected: str, tmp_path: Path) -> None:
    with serve(publish(*keys)) as server:
        assert resolve(server, [link("PMC1", figure)], tmp_path) == 1
    (address,) = pmc.read(tmp_path)
    if expected.startswith("PMC"):
        assert address == Address(f"PMC1_{figure}", f"{BUCKET}/{expected}", 7)
    else:
        assert address == Address(f"PMC1_{figure}", reason=expected)


def test_an_article_is_asked_for_once_and_what_is_no_id_never(tmp_path: Path) -> None:
    pictures = [link("PMC1", "a.jpg"), link("PMC2", "a.jpg"), link("PMC1", "b.jpg"), link("PMC1&x=", "a.jpg")]
    with serve(publish("PMC1.1/a.jpg", "PMC1.1/b.jpg", "PMC2.1/a.jpg")) as server:
        resolve(server, pictures, tmp_path)
        assert sorted(request.query for request in server.requests) == [
            "list-type=2&prefix=PMC1.",
            "list-type=2&prefix=PMC2.",
        ]
        resolve(server, pictures, tmp_path)
        assert len(server.requests) == 2, "known articles are not listed again"
    addresses = found(tmp_path)
    assert addresses["PMC1&x=_a.jpg"].reason == "not an article id"
    assert sum(address.url is not None for address in addresses.values()) == 3


def test_a_long_listing_comes_in_pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bucket, "PAGE_SIZE", 2)
    with serve(publish(*(f"PMC1.1/{name}+.jpg" for name in "abcde"))) as server:
        resolve(server, [link("PMC1", "e+.jpg")], tmp_path)
        assert len(server.requests) == 3
    assert found(tmp_path)["PMC1_e+.jpg"].url == f"{BUCKET}/PMC1.1/e%2B.jpg"


def test_an_interrupted_resolution_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pmc, "PART_ROWS", 4)
    articles = [f"PMC{number}" for number in range(10)]
    pictures = [link(article, "a.jpg") for article in articles]
    with serve(publish(*(f"{article}.1/a.jpg" for article in articles))) as server:
        server.faults[:] = [_after(7)]
        with pytest.raises(TemporaryError, match="503"):
            resolve(server, pictures, tmp_path, connections=1)
        assert len(found(tmp_path)) == 7
        assert len(list(tmp_path.glob("*.parquet"))) == 2
        server.faults.clear()
        num_before = len(server.requests)
        resolve(server, pictures, tmp_path)
        assert len(server.requests) - num_before == 3
    assert sorted(found(tmp_path)) == [picture.name for picture in pictures]


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"<html><body>Back soon</body></html>",
        b"<ListBucketResult><Contents>",
        b'<?xml version="1.0" encoding="foo"?><ListBucketResult/>',
        b'<!DOCTYPE x [<!ENTITY a "aaaa">]><ListBucketResult><Contents><Key>&a;</Key></Contents></ListBucketResult>',
    ],
)
def test_what_is_no_listing_is_one_line(document: bytes, tmp_path: Path) -> None:
    with serve({}) as server:
        server.faults[:] = [_always(document)]
        with pytest.raises(AcquisitionError, match="the answer is not a listing") as error:
            resolve(server, [link("PMC1", "a.jpg")], tmp_path)
    assert "\n" not in str(error.value)
    assert not found(tmp_path)


def _always(document: bytes) -> faults.Fault:
    """Every listing is this document."""
    return faults.answer(bucket.Reply(200, {"Content-Type": "application/xml"}, bucket.Content(document)))


def _after(num_requests: int) -> faults.Fault:
    """Answer so many requests, then 503."""
    seen: list[str] = []

    def strike(request: object, reply: bucket.Reply, other: str) -> bucket.Reply:
        seen.append("")
        return reply if len(seen) <= num_requests else bucket.Reply(503)

    return faults.Fault(after=strike)
