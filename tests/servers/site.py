"""`Site`: what the hosts know of one another, and the storage that they send clients to with signed links."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import quote

from tests.servers.exchange import Content, Reply, Request, send_file

Login = Literal["page", "challenge", "wget"]
Files = Mapping[str, Content]  # by path at its host

_LINKS = {  # host -> how it signs
    "cdn-lfs.hf.co": "Expires=1790000000&Policy=e30&Key-Pair-Id=K3&Signature={}",
    "storage.googleapis.com": "Expires=1790000000&GoogleAccessId=files@osf.io&Signature={}",
    "s3-eu-west-1.amazonaws.com": "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Expires=10&X-Amz-Signature={}",
    "public.boxcloud.com": "session={}",
}
STORAGES = tuple(_LINKS)


@dataclass
class Site:
    """One server's files and dials. `base` is where official hosts stand, `other` where what they redirect to does."""

    base: str
    other: str
    files: Mapping[str, Files]  # by host
    passwords: Mapping[str, tuple[str, str]]  # host -> user and password
    gated: Mapping[str, str]  # repository of the hub -> token
    login: Login  # of PhysioNet
    has_short_links: bool  # a signed link is good for one request
    _stored: dict[tuple[str, str], Content] = field(default_factory=dict)
    _open: dict[str, str] = field(default_factory=dict)  # signature -> path
    _numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    def url(self, host: str) -> str:
        return f"{self.other if host in STORAGES else self.base}/{host}"

    def sign(self, host: str, path: str, content: Content) -> str:
        """A link to `content` on a storage, with a signature that no other link has."""
        signature = f"{next(self._numbers):08x}"
        self._stored[host, path] = content
        self._open[signature] = path
        return f"{self.url(host)}{quote(path)}?{_LINKS[host].format(signature)}"

    def answer_storage(self, request: Request) -> Reply:
        """A signed link's file. Whoever brings a password or token to another host is refused, as S3 does."""
        if "Authorization" in request.headers:
            return _refuse("InvalidArgument", "Only one auth mechanism allowed", 400)
        signature = request.query.rpartition("=")[2]
        is_signed_for = request.method == "GET" or request.host == "cdn-lfs.hf.co"  # a link for GET is not for HEAD
        if self._open.get(signature) != request.path or not is_signed_for:
            return _refuse("AccessDenied", "Request has expired", 403)
        if self.has_short_links:
            del self._open[signature]
        return send_file(request, self._stored[request.host, request.path])


def _refuse(code: str, message: str, status: int) -> Reply:
    body = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>{message}</Message></Error>'
    return Reply(status, {"Content-Type": "application/xml"}, Content(body.encode()))
