"""Box: a shared file redirects to a second host, then to a storage link with a session. Folders are pages.

`index.php?rm=box_download_shared_file` serves a file of a shared folder. As observed, HEAD of /shared/static gets 404.
"""

from __future__ import annotations

from urllib.parse import parse_qs

from tests.servers.exchange import NOT_FOUND, Content, Reply, Request, redirect, send_page
from tests.servers.site import Site

HOSTS = ("nihcc.box.com", "nihcc.app.box.com")


def answer(site: Site, request: Request) -> Reply:
    if request.path.startswith("/v/"):
        return send_page("Box")
    files = {path: content for host in HOSTS for path, content in site.files.get(host, {}).items()}
    if request.path == "/index.php":
        number = request.argument("file_id") or ""
        return _send(site, number, _find(files, number))
    name = request.path.rpartition("/")[2]
    shared = f"/shared/static/{name}"
    if request.path == shared and shared in files:
        if request.method == "HEAD":
            return NOT_FOUND
        return redirect(f"{site.url('nihcc.app.box.com')}/public/static/{name}", 301)
    return _send(site, name, files.get(shared))


def _find(files: dict[str, Content], number: str) -> Content | None:
    """The file whose published query has the number."""
    queries = ((parse_qs(path.partition("?")[2]), content) for path, content in files.items())
    return next((content for query, content in queries if query.get("file_id") == [number]), None)


def _send(site: Site, name: str, content: Content | None) -> Reply:
    if content is None:
        return NOT_FOUND
    return redirect(site.sign("public.boxcloud.com", f"/d/1/b1!{name}/download", content))
