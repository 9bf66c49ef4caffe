"""`serve`: one loopback server for all official hosts, which the first part of the path distinguishes."""

import copy
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from urllib.parse import unquote, urlsplit

from tests.servers import bucket, figshare, hub, physionet, plain, zenodo
from tests.servers.exchange import NOT_FOUND, Content, Reply, Request
from tests.servers.faults import Fault
from tests.servers.site import STORAGES, Login, Site
from tests.servers.wire import Listener

HOSTS = {
    "huggingface.co": hub.answer,
    "zenodo.org": zenodo.answer,
    "physionet.org": physionet.answer,
    "ndownloader.figshare.com": figshare.answer,
    "api.figshare.com": figshare.answer_api,
    "pmc-oa-opendata.s3.amazonaws.com": bucket.answer,
    **dict.fromkeys(STORAGES, Site.answer_storage),
}


@dataclass
class Server:
    """A running server. Tests may change `faults`; `requests` are in order of arrival."""

    site: Site
    faults: list[Fault]
    requests: list[Request] = field(default_factory=list)
    closing: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _attempts: Counter[str] = field(default_factory=Counter)

    @property
    def endpoints(self) -> dict[str, str]:
        """Host name -> base URL, for `execution.endpoints`."""
        return {host: self.site.url(host) for host in sorted(HOSTS.keys() | self.site.files)}

    def asked(self, place: str = "*") -> list[Request]:
        """The requests for a place, `host/path` with `*`."""
        return [request for request in list(self.requests) if fnmatchcase(request.place, place)]

    def answer(self, request: Request) -> Reply:
        """Record the request; its host answers, and the faults change the answer."""
        with self._lock:
            self._attempts[request.place] += 1
            request.attempt = self._attempts[request.place]
            self.requests.append(request)
        striking = [fault for fault in self.faults if fault.strikes(request)]
        asked = copy.deepcopy(request)
        for fault in striking:
            asked = fault.before(asked)
        if request.host not in HOSTS and request.host not in self.site.files:
            reply = NOT_FOUND
        else:
            reply = HOSTS.get(request.host, plain.answer)(self.site, asked)
        for fault in striking:
            reply = fault.after(asked, reply, self.site.other)
        request.status = reply.status
        return reply


@contextmanager
def serve(
    files: Mapping[str, bytes | Path],
    faults: Iterable[Fault] = (),
    *,
    gated: Mapping[str, str] | None = None,
    login: Login = "page",
) -> Iterator[Server]:
    """Serve files at their official URLs, two ports on loopback, until the block ends.

    Args:
        files: official URL -> bytes, or the path of a file.
        faults: the faults, in order.
        gated: repository of the hub ("owner/name") -> its token.
        login: PhysioNet's answer to a request without a password; see `physionet.py`.
    """
    by_host: dict[str, dict[str, Content]] = {}
    for url, data in files.items():
        parts = urlsplit(url)
        query = f"?{parts.query}" if parts.path == "/index.php" else ""  # there it tells one file from another
        by_host.setdefault(parts.netloc, {})[unquote(parts.path) + query] = Content(data)
    with ExitStack() as stack:
        listeners = [Listener(), Listener()]
        ports = [listener.server_address[1] for listener in listeners]
        site = Site(
            base=f"http://127.0.0.1:{ports[0]}",
            other=f"http://localhost:{ports[1]}",
            files=by_host,
            gated=gated or {},
            login=login,
        )
        server = Server(site, list(faults))
        for listener in listeners:
            listener.play = server
            threading.Thread(target=listener.serve_forever, args=(0.02,), daemon=True).start()
            stack.callback(listener.close)
        stack.callback(server.closing.set)
        yield server
