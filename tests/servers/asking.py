"""Plain questions to the servers, without a client's cleverness."""

from __future__ import annotations

import http.client
from email.message import Message
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

DATA = bytes(range(256)) * 400  # 102,400 bytes
ZENODO = "https://zenodo.org/records/1/files/a.zip?download=1"
PLAIN = "https://openi.nlm.nih.gov/imgs/a.tgz"
PHYSIONET = "https://physionet.org/files/set/1.0/a.csv.gz"


def get(url: str, method: str = "GET", **headers: str) -> tuple[int, Message, bytes]:
    """Status, headers and body, whatever the status; redirects are followed."""
    told = {name.replace("_", "-"): text for name, text in headers.items()}
    try:
        with urlopen(Request(url, method=method, headers=told)) as reply:
            return reply.status, reply.headers, reply.read()
    except HTTPError as error:
        with error:
            return error.code, error.headers, error.read()


def ask(url: str, **headers: str) -> tuple[int, dict[str, str]]:
    """Status and headers; redirects are not followed."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc)
    told = {name.replace("_", "-"): text for name, text in headers.items()}
    connection.request("GET", f"{parts.path}?{parts.query}", headers=told)
    with connection.getresponse() as reply:
        found = reply.status, dict(reply.getheaders())
    connection.close()
    return found
