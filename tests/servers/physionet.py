"""PhysioNet: files behind HTTP basic authentication.

`Site.login` selects the answer to a request without a password, as the real host gave it at some time:

- "page": a redirect to the login page, which is 200 and HTML.
- "challenge": 401.
- "wget": 401 for wget and libwfdb, 403 for all other programs, with a password too.

A wrong password gets 401, that of a user who has not signed the project's agreement 403. Each project's SHA256SUMS.txt
lists its files, with one space after the digest.
"""

import base64
import re
from urllib.parse import quote

from tests.servers.exchange import NOT_FOUND, Content, Reply, Request, redirect, send_file, send_page
from tests.servers.site import Files, Site

READER = ("reader@example.org", "correct horse")
UNSIGNED = ("unsigned@example.org", "correct horse")  # has signed no agreement
_PROJECT = re.compile(r"(/files/[^/]+/[^/]+/)SHA256SUMS\.txt")
_AGENT = re.compile(r"(Wget/|libwfdb/)")


def answer(site: Site, request: Request) -> Reply:
    if request.path == "/login/":
        return send_page("PhysioNet: log in")
    sent = request.headers.get("Authorization")
    if site.login == "wget" and not _AGENT.match(request.headers.get("User-Agent", "")):
        return send_page("Access denied", 403)
    if sent is None and site.login == "page":
        return redirect(f"{site.url(request.host)}/login/?next={quote(request.path)}")
    if sent == _basic(UNSIGNED):
        return send_page("You must sign the data use agreement", 403)
    if sent != _basic(READER):
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
