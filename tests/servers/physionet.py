"""PhysioNet: files behind a password, asked for by HTTP's basic authentication.

`Site.login` says what becomes of a request without a session, as the real one did at some time and to some programs:

- "page": who bears no password is redirected to the login page, which is 200 and HTML.
- "challenge": who bears none is asked for it, by 401.
- "wget": as its code stands, passwords are asked for and taken from wget and libwfdb alone, all others get 403.

A wrong password is 401, the right one of a person who has not signed the project's agreement 403. Each project's
SHA256SUMS.txt names its files, one space behind the digest.
"""

from __future__ import annotations

import base64
import re
from urllib.parse import quote

from tests.servers.exchange import NOT_FOUND, Content, Reply, Request, redirect, send_file, send_page
from tests.servers.site import Files, Site

UNSIGNED = ("unsigned@example.org", "correct horse")  # known, and has signed no agreement
_PROJECT = re.compile(r"(/files/[^/]+/[^/]+/)SHA256SUMS\.txt")
_AGENT = re.compile(r"(Wget/|libwfdb/)")


def answer(site: Site, request: Request) -> Reply:
    if request.path == "/login/":
        return send_page("PhysioNet: log in")
    told = request.headers.get("Authorization")
    if site.login == "wget" and not _AGENT.match(request.headers.get("User-Agent", "")):
        return send_page("Access denied", 403)
    if told is None and site.login == "page":
        return redirect(f"{site.url(request.host)}/login/?next={quote(request.path)}")
    if told == _basic(UNSIGNED):
        return send_page("You must sign the data use agreement", 403)
    if told != _basic(site.passwords[request.host]):
        page = send_page("Unauthorized", 401)
        challenge = 'Basic realm="PhysioNet", charset="UTF-8"'
        return Reply(401, {**page.headers, "WWW-Authenticate": challenge}, page.content)
    files = site.files.get(request.host, {})
    match = _PROJECT.fullmatch(request.path)
    content = _sum(files, match[1]) if match and request.path not in files else files.get(request.path)
    return send_file(request, content) if content else NOT_FOUND


def _basic(password: tuple[str, str]) -> str:
    return "Basic " + base64.b64encode(":".join(password).encode()).decode()


def _sum(files: Files, begin: str) -> Content | None:
    lines = [
        f"{content.sha256} {path.removeprefix(begin)}\n" for path, content in files.items() if path.startswith(begin)
    ]
    return Content("".join(sorted(lines)).encode()) if lines else None
