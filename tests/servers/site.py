"""`Site`: the files of all hosts, and the storage to which they redirect with signed links."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import quote

from tests.servers.exchange import Content, Reply, Request, send_file

Login = Literal["page", "challenge", "wget"]
Files = Mapping[str, Content]  # by path on its host

_LINKS = {  # host -> the form of its signatures
    "cdn-lfs.hf.co": "Expires=1790000000&Policy=e30&Key-Pair-Id=K3&Signature={}",
    "s3-eu-west-1.amazonaws.com": "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Expires=10&X-Amz-Signature={}",
}
STORAGES = tuple(_LINKS)


@dataclass
class Site:
    """A server's files and settings: official hosts are below `base`, the hosts that they redirect to below `other`."""

    base: str
    other: str
    files: Mapping[str, Files]  # by host
    gated: Mapping[str, str]  # repository of the hub -> token
    login: Login  # of PhysioNet
    _stored: dict[tuple[str, str], Content] = field(default_factory=dict)
    _open: dict[str, str] = field(default_factory=dict)  # signature -> path
    _numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    def url(self, host: str) -> str:
        return f"{self.other if host in STORAGES else self.base}/{host}"

    def sign(self, host: str, path: str, content: Content) -> str:
        """A link to `content` on a storage, with a unique signature."""
        signature = f"{next(self._numbers):08x}"
        self._stored[host, path] = content
        self._open[signature] = path
        return f"{self.url(host)}{quote(path)}?{_LINKS[host].format(signature)}"

    def answer_storage(self, request: Request) -> Reply:
        """Serve a signed link's file; refuse a request with a password or token of another host, as S3 does."""
        if "Authorization" in request.headers:
            return _refuse("InvalidArgument", "Only one auth mechanism allowed", 400)
        if self._open.get(request.query.rpartition("=")[2]) != request.path:
            return _refuse("AccessDenied", "Request has expired", 403)
        return send_file(request, self._stored[request.host, request.path])


def _refuse(code: str, message: str, status: int) -> Reply:
    body = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>{message}</Message></Error>'
    return Reply(status, {"Content-Type": "application/xml"}, Content(body.encode()))
