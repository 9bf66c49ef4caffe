"""PhysioNet: files behind a password, asked for by HTTP's basic authentication.

Without one the site shows its login page, by a redirect that ends in 200, or, to clients that it takes for wget, asks
for a password by 401. Each project's SHA256SUMS.txt names its files.
"""

from __future__ import annotations

import base64
import re
from urllib.parse import quote

from tests.servers.exchange import NOT_FOUND, Content, Reply, Request, redirect, send_file, send_page
from tests.servers.site import Files, Site

_PROJECT = re.compile(r"(/files/[^/]+/[^/]+/)SHA256SUMS\.txt")


def answer(site: Site, request: Request) -> Reply:
    if request.path == "/login/":
        return send_page("PhysioNet: log in")
    told = request.headers.get("Authorization")
    expected = base64.b64encode(":".join(site.passwords[request.host]).encode()).decode()
    if told is None and not site.has_challenge:
        return redirect(f"{site.url(request.host)}/login/?next={quote(request.path)}")
    if told != f"Basic {expected}":
        page = send_page("Unauthorized", 401)
        return Reply(401, {**page.headers, "WWW-Authenticate": 'Basic realm="PhysioNet"'}, page.content)
    files = site.files.get(request.host, {})
    match = _PROJECT.fullmatch(request.path)
    content = _sum(files, match[1]) if match and request.path not in files else files.get(request.path)
    return send_file(request, content) if content else NOT_FOUND


def _sum(files: Files, begin: str) -> Content | None:
    lines = [
        f"{content.sha256} {path.removeprefix(begin)}\n" for path, content in files.items() if path.startswith(begin)
    ]
    return Content("".join(sorted(lines)).encode()) if lines else None
