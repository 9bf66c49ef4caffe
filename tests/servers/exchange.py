"""`Content`, `Request`, `Reply`, and the reply to a request for a file."""

import hashlib
import json
import mimetypes
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.message import Message
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

LAST_MODIFIED = "Mon, 30 Oct 2023 20:34:52 GMT"
_RANGE = re.compile(r"bytes=(\d+)-")


@dataclass(frozen=True)
class Content:
    """The bytes of a published file, in memory or on disk."""

    data: bytes | Path

    @cached_property
    def size_bytes(self) -> int:
        return len(self.data) if isinstance(self.data, bytes) else self.data.stat().st_size

    @cached_property
    def md5(self) -> str:
        return self._digest("md5")

    @cached_property
    def sha256(self) -> str:
        return self._digest("sha256")

    def read(self, start: int = 0, stop: int | None = None) -> bytes:
        stop = self.size_bytes if stop is None else stop
        if isinstance(self.data, bytes):
            return self.data[start:stop]
        with self.data.open("rb") as file:
            file.seek(start)
            return file.read(stop - start)

    def _digest(self, name: str) -> str:
        return hashlib.new(name, self.read(), usedforsecurity=False).hexdigest()


@dataclass
class Request:
    """One request: `host` is the official host, `path` the unquoted path there."""

    host: str
    path: str
    query: str
    headers: Message  # names in any case
    attempt: int = 0  # from 1, of this path
    status: int = 0  # of the reply
    num_bytes: int = 0  # of the body sent so far

    @property
    def place(self) -> str:
        """Host and path, the form that faults use."""
        return self.host + self.path

    def argument(self, name: str) -> str | None:
        return dict(parse_qsl(self.query, keep_blank_values=True)).get(name)


@dataclass(frozen=True)
class Reply:
    """A reply and how it is sent: `start` and `stop` are the range, the fields after them are for faults."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    content: Content = Content(b"")
    start: int = 0
    stop: int | None = None
    is_chunked: bool = False  # without a length
    is_endless: bool = False  # without a length or chunks
    closes_at: int | None = None  # bytes of the body before the connection is closed
    stalls_at: int | None = None
    stalls_s: float = 0

    @property
    def is_file(self) -> bool:
        return self.status in (200, 206)


def send_file(
    request: Request,
    content: Content,
    *,
    etag: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Reply:
    """The file, or the requested range; 416 if it begins after the end. Respects If-Range."""
    etag = f'"{content.md5}"' if etag is None else etag
    kind = mimetypes.guess_type(request.path)
    sent = {
        "Content-Type": (kind[0] if not kind[1] else None) or "application/octet-stream",
        "Last-Modified": LAST_MODIFIED,
        "ETag": etag,
        "Accept-Ranges": "bytes",
        **(headers or {}),
    }
    size = content.size_bytes
    asked = _RANGE.fullmatch(request.headers.get("Range", ""))
    is_same = request.headers.get("If-Range", etag) in (etag, LAST_MODIFIED)
    if not asked or not is_same:
        return Reply(200, sent, content, 0, size)
    start, stop = int(asked[1]), size
    if start >= size:
        return Reply(416, {"Content-Range": f"bytes */{size}"})
    return Reply(206, {**sent, "Content-Range": f"bytes {start}-{stop - 1}/{size}"}, content, start, stop)


def send_json(value: Any, status: int = 200) -> Reply:
    return Reply(status, {"Content-Type": "application/json"}, Content(json.dumps(value).encode()))


def send_page(title: str, status: int = 200) -> Reply:
    page = f"<!DOCTYPE html>\n<html><head><title>{title}</title></head><body><h1>{title}</h1></body></html>\n"
    return Reply(status, {"Content-Type": "text/html; charset=utf-8"}, Content(page.encode()))


def redirect(url: str, status: int = 302) -> Reply:
    return Reply(status, {"Location": url, "Content-Type": "text/html"})


NOT_FOUND = send_page("Page not found", 404)
