import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from openmedq.config import Execution
from openmedq.datasets.card import LinkedImage
from openmedq.errors import AcquisitionError
from openmedq.fetch import pmc
from openmedq.fetch.pmc import BUCKET, Address
from tests.servers import Server, bucket, faults, serve


def publish(*keys: str) -> dict[str, bytes | Path]:
    return {f"{BUCKET}/{key.replace('%', '%25')}": b"x" * 7 for key in keys}


def link(article: str, figure: str) -> LinkedImage:
    return LinkedImage(f"{article}_{figure}", article, figure)


def locate(server: Server, images: Sequence[LinkedImage], listings: pmc.Listings | None = None) -> list[Address]:
    execution = Execution(endpoints=server.endpoints, attempts=2, backoff_s=0.001)
    return asyncio.run(pmc.locate(images, {} if listings is None else listings, execution))


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
def test_the_file_that_is_meant(keys: list[str], figure: str, expected: str) -> None:
    with serve(publish(*keys)) as server:
        (address,) = locate(server, [link("PMC1", figure)])
    if expected.startswith("PMC"):
        assert address == Address(f"PMC1_{figure}", f"{BUCKET}/{expected}", 7)
    else:
        assert address == Address(f"PMC1_{figure}", reason=expected)


def test_an_article_is_asked_for_once_and_what_is_no_id_never() -> None:
    images = [link("PMC1", "a.jpg"), link("PMC2", "a.jpg"), link("PMC1", "b.jpg"), link("PMC1&x=", "a.jpg")]
    listings = pmc.Listings()
    with serve(publish("PMC1.1/a.jpg", "PMC1.1/b.jpg", "PMC2.1/a.jpg")) as server:
        *found, invalid = locate(server, images, listings)
        assert locate(server, images, listings) == [*found, invalid]
        assert sorted(request.query for request in server.requests) == [
            "list-type=2&prefix=PMC1.",
            "list-type=2&prefix=PMC2.",
        ]
    assert invalid.reason == "not an article id"
    assert all(address.url for address in found)


def test_a_long_listing_comes_in_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bucket, "PAGE_SIZE", 2)
    with serve(publish(*(f"PMC1.1/{name}+.jpg" for name in "abcde"))) as server:
        (address,) = locate(server, [link("PMC1", "e+.jpg")])
        assert len(server.requests) == 3
    assert address.url == f"{BUCKET}/PMC1.1/e%2B.jpg"


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
def test_what_is_no_listing_is_one_line(document: bytes) -> None:
    with serve({}) as server:
        server.faults[:] = [_always(document)]
        with pytest.raises(AcquisitionError, match="the answer is not a listing") as error:
            locate(server, [link("PMC1", "a.jpg")])
    assert "\n" not in str(error.value)


def _always(document: bytes) -> faults.Fault:
    """Every listing is this document."""
    return faults.answer(bucket.Reply(200, {"Content-Type": "application/xml"}, bucket.Content(document)))
