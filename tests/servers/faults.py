"""What goes wrong, on which requests. Faults compose: each one changes what the one before it left.

`faults.status(500).on("zenodo.org/*", times=5)`: attempts are counted by method and place, from 1, where a place is
`host/path`, with `*`; a redirect leads to another place, which counts anew. Without `on` a fault strikes every GET.
Those that spoil bytes leave redirects and errors alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path

from tests.servers.exchange import Content, Reply, Request, redirect, send_file, send_page


@dataclass(frozen=True)
class Fault:
    """One fault. `before` changes what is asked, `after` the answer; `other` is where other hosts stand."""

    before: Callable[[Request], Request] = lambda request: request
    after: Callable[[Request, Reply, str], Reply] = lambda request, reply, other: reply
    place: str = "*"
    first: int = 1
    times: int | None = None  # always
    method: str = "GET"  # or "*"

    def on(self, place: str = "*", *, first: int = 1, times: int | None = None, method: str = "GET") -> Fault:
        """The same at these places, from attempt `first` on, for `times` attempts."""
        return replace(self, place=place, first=first, times=times, method=method)

    def strikes(self, request: Request) -> bool:
        is_due = self.first <= request.attempt and (self.times is None or request.attempt < self.first + self.times)
        return is_due and self.method in ("*", request.method) and fnmatchcase(request.place, self.place)


def _on_files(change: Callable[[Reply], Reply]) -> Fault:
    return Fault(after=lambda request, reply, other: change(reply) if reply.is_file else reply)


def _instead(other_than: Callable[[Content], Content]) -> Fault:
    def swap(request: Request, reply: Reply, other: str) -> Reply:
        if not reply.is_file:
            return reply
        headers = {name: text for name, text in reply.headers.items() if name not in ("ETag", "Content-Range")}
        has_ranges = headers.get("Accept-Ranges") != "none"
        return send_file(request, other_than(reply.content), headers=headers, has_ranges=has_ranges)

    return Fault(after=swap)


def cut(at: int) -> Fault:
    """The connection is reset after `at` bytes of the body."""
    return _on_files(lambda reply: replace(reply, closes_at=at, is_reset=True))


def truncate(at: int) -> Fault:
    """The length is right, but after `at` bytes of the body the connection is closed in good order."""
    return _on_files(lambda reply: replace(reply, closes_at=at))


def shorten(size_bytes: int) -> Fault:
    """The file is whole by its length, and shorter than published."""
    return _instead(lambda content: Content(content.read(0, size_bytes)))


def corrupt(at: int = 0) -> Fault:
    """The byte `at` of the file is another; its length and ETag are right."""

    def change(reply: Reply) -> Reply:
        data = bytearray(reply.content.read())
        data[at] ^= 0xFF
        return replace(reply, content=Content(bytes(data)))

    return _on_files(change)


def change(data: bytes | Path) -> Fault:
    """Another file stands there, with another ETag."""
    return _instead(lambda content: Content(data))


def status(code: int, *, retry_after: int | str | None = None) -> Fault:
    """The server answers `code`, and when to come again: seconds, or a date."""
    page = send_page(f"{code}", code)
    headers = dict(page.headers) | ({} if retry_after is None else {"Retry-After": str(retry_after)})
    return Fault(after=lambda request, reply, other: replace(page, headers=headers))


def not_found() -> Fault:
    """The file is gone."""
    return status(404)


def challenge() -> Fault:
    """202 and nothing, as a firewall answers whom it takes for a robot."""
    return Fault(after=lambda request, reply, other: Reply(202, {"x-amzn-waf-action": "challenge"}))


def html(*, is_disguised: bool = False) -> Fault:
    """200 and a page of HTML; disguised under the file's own content type."""

    def change(request: Request, reply: Reply, other: str) -> Reply:
        page = send_page("We will be back soon")
        return replace(page, headers={"Content-Type": "application/octet-stream"}) if is_disguised else page

    return Fault(after=change)


def redirect_to(target: str, code: int = 302) -> Fault:
    """To a URL, or to the same path at another host of that name, which is spared."""

    def change(request: Request, reply: Reply, other: str) -> Reply:
        if request.host == target:
            return reply
        return redirect(target if "://" in target else f"{other}/{target}{request.path}", code)

    return Fault(after=change)


def slow(bytes_per_s: float) -> Fault:
    """The body comes at this rate."""
    return _on_files(lambda reply: replace(reply, bytes_per_s=bytes_per_s))


def stall(at: int = 0, *, seconds: float = 3600) -> Fault:
    """After `at` bytes of the body nothing comes, for so long or until the server is closed; then the rest."""
    return _on_files(lambda reply: replace(reply, stalls_at=at, stalls_s=seconds))


def ignore_range() -> Fault:
    """The whole file, whatever part is asked for."""

    def change(request: Request) -> Request:
        del request.headers["Range"]  # absent is no error
        return request

    return Fault(before=change)
