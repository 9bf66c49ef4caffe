"""Answers that no HTTP library would give: drips that never end, ends that can't be told from a cut."""

from __future__ import annotations

from itertools import chain, repeat

import pytest

from openmedq.errors import PassingError
from tests.acquire.conftest import HOST, Fetch, make_files, make_set
from tests.servers.raw import serve_raw

NAME = "a.bin"
FILES = make_files({NAME: b""})

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
DRIPS = {
    "a header": (b"HTTP/1.1 200 OK\r\nX-Slow: ", b"a"),
    "answers before the answer": (b"", b"HTTP/1.1 102 Processing\r\n\r\n"),
    "a chunk's extension": (CHUNKED + b"1;", b"e"),
    "what follows the last chunk": (CHUNKED + b"3\r\nabc\r\n0\r\n", b"X-Trailer: a\r\n"),
    "the body": (b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n", b"a"),
}


@pytest.mark.parametrize("name", DRIPS)
def test_a_drip_of_what_is_no_progress_is_left(fetch: Fetch, name: str) -> None:
    first, drop = DRIPS[name]
    with (
        serve_raw(HOST, lambda head, number: chain([first], repeat(drop, 200)), pause_s=0.04) as server,
        pytest.raises(PassingError, match=r"no answer in time|next to nothing"),
    ):
        fetch(server, make_set(FILES), attempts=1, timeout_s=0.2)
