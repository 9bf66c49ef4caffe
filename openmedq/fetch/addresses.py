"""Addresses: which ones can be asked for, where a redirect leads, through which proxy, and what may be shown of them.

Nothing is asked here.
"""

from __future__ import annotations

import re
import urllib.request
from urllib.parse import quote

from yarl import URL

from openmedq.errors import ParamsError


def parse_endpoint(base: str, name: str) -> URL:
    """The base URL that an endpoint of that name says, with a slash at its end; ParamsError where it is none."""
    try:
        url = URL(base)
        _refuse_unsendable(url)
        if url.scheme not in ("http", "https") or not url.host:
            raise ValueError
    except ValueError:  # the address is not repeated: it may hold a password
        raise ParamsError(f"{name}: not an http or https address with a host's name; correct it") from None
    return url if url.path.endswith("/") else url.with_path(url.path + "/")


def join(here: URL, location: str) -> URL:
    """Where a redirect leads, as its server spells it; ValueError where it can't be asked for.

    But blanks are quoted: some servers leave them, and they would end the request's first line.
    """
    spelled = re.sub(r"\s", lambda found: quote(found[0]), location.strip())
    named = here.join(URL(spelled, encoded=True)).with_user(None)
    _refuse_unsendable(named)
    return named


def _refuse_unsendable(url: URL) -> None:
    """ValueError for what would be found out late: signs and names of hosts that can't be."""
    str(url).encode("utf-8")
    (url.host or "").encode("idna")


def is_private(url: URL) -> bool:
    """Whether nobody on the way can read along."""
    return url.scheme == "https" or url.host in ("127.0.0.1", "::1", "localhost")


def proxy_of(target: URL) -> str | None:
    """The proxy that the environment names for a host."""
    if not target.host or urllib.request.proxy_bypass(target.host):
        return None
    proxy = urllib.request.getproxies().get(target.scheme)
    return proxy if not proxy or "://" in proxy else f"http://{proxy}"  # as curl takes it


def plain(url: str) -> str:
    """A URL without its query and its user: what may be shown."""
    return str(URL(url).with_query(None).with_fragment(None).with_user(None))
