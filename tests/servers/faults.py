"""Faults of the servers. They compose: each changes the result of the one before.

`faults.status(500).on("zenodo.org/*", times=5)`: attempts are counted from 1 by place, which is `host/path`
with `*` as wildcard. Without `on` a fault applies to every request. Faults of bytes do not change redirects and errors.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path

from tests.servers.exchange import Content, Reply, Request, redirect, send_file, send_page


@dataclass(frozen=True)
class Fault:
    """One fault. `before` changes the request, `after` the reply; `other` is the base URL of other hosts."""

    before: Callable[[Request], Request] = lambda request: request
    after: Callable[[Request, Reply, str], Reply] = lambda request, reply, other: reply
    place: str = "*"
    first: int = 1
    times: int | None = None  # always

    def on(self, place: str = "*", *, first: int = 1, times: int | None = None) -> Fault:
        """The same fault at these places, from attempt `first` on, for `times` attempts."""
        return replace(self, place=place, first=first, times=times)

    def strikes(self, request: Request) -> bool:
        is_due = self.first <= request.attempt and (self.times is None or request.attempt < self.first + self.times)
        return is_due and fnmatchcase(request.place, self.place)


def answer(reply: Reply) -> Fault:
    return Fault(after=lambda request, own, other: reply)


def _on_files(change: Callable[[Reply], Reply]) -> Fault:
    return Fault(after=lambda request, reply, other: change(reply) if reply.is_file else reply)


def _instead(other_than: Callable[[Content], Content]) -> Fault:
    def swap(request: Request, reply: Reply, other: str) -> Reply:
        if not reply.is_file:
            return reply
        headers = {name: text for name, text in reply.headers.items() if name not in ("ETag", "Content-Range")}
        return send_file(request, other_than(reply.content), headers=headers)

    return Fault(after=swap)


def cut(at: int) -> Fault:
    """The connection is closed after `at` bytes of the body."""
    return _on_files(lambda reply: replace(reply, closes_at=at))


def shorten(size_bytes: int) -> Fault:
    """A shorter file with its own length."""
    return _instead(lambda content: Content(content.read(0, size_bytes)))


def corrupt(at: int = 0) -> Fault:
    """The byte `at` of the file differs; length and ETag do not."""

    def change(reply: Reply) -> Reply:
        data = bytearray(reply.content.read())
        data[at] ^= 0xFF
        return replace(reply, content=Content(bytes(data)))

    return _on_files(change)


def change(data: bytes | Path) -> Fault:
    """Another file, with another ETag."""
    return _instead(lambda content: Content(data))


def status(code: int, *, retry_after: int | None = None) -> Fault:
    """Status `code`, with `Retry-After` in seconds."""
    page = send_page(f"{code}", code)
    headers = dict(page.headers) | ({} if retry_after is None else {"Retry-After": str(retry_after)})
    return answer(replace(page, headers=headers))


def not_found() -> Fault:
    return status(404)


def challenge() -> Fault:
    """202 without a body, as a firewall answers robots."""
    return answer(Reply(202, {"x-amzn-waf-action": "challenge"}))


def html(*, is_disguised: bool = False) -> Fault:
    """200 with an HTML page; disguised, with the content type of binary files."""
    page = send_page("We will be back soon")
    return answer(replace(page, headers={"Content-Type": "application/octet-stream"}) if is_disguised else page)


def redirect_to(target: str, code: int = 302) -> Fault:
    """Redirect to a URL, or to the same path at another host of that name."""

    def change(request: Request, reply: Reply, other: str) -> Reply:
        if request.host == target:
            return reply
        return redirect(target if "://" in target else f"{other}/{target}{request.path}", code)

    return Fault(after=change)


def stall(at: int = 0, *, seconds: float = 3600) -> Fault:
    """Pause after `at` bytes of the body, for some seconds or until the server is closed."""
    return _on_files(lambda reply: replace(reply, stalls_at=at, stalls_s=seconds))


def state(**headers: str) -> Fault:
    """Send these validators alone, or another Content-Type."""
    stated = {name.replace("_", "-"): text for name, text in headers.items()}
    ignored = ("ETag", "Last-Modified", *stated)

    def change(reply: Reply) -> Reply:
        kept = {name: text for name, text in reply.headers.items() if name not in ignored}
        return replace(reply, headers=kept | stated)

    return _on_files(change)


def ignore(name: str) -> Fault:
    """Answer as if the request did not have this header."""

    def change(request: Request) -> Request:
        del request.headers[name]  # no error if absent
        return request

    return Fault(before=change)
