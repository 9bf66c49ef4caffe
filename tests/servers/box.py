"""Box: a shared file's address leads over a second host to a storage, whose link bears a session. Folders are pages."""

from __future__ import annotations

from tests.servers.exchange import NOT_FOUND, Reply, Request, redirect, send_page
from tests.servers.site import Site

HOSTS = ("nihcc.box.com", "nihcc.app.box.com")


def answer(site: Site, request: Request) -> Reply:
    if request.path.startswith("/v/"):
        return send_page("Box")
    name = request.path.rpartition("/")[2]
    shared = f"/shared/static/{name}"
    content = next((site.files[host][shared] for host in HOSTS if shared in site.files.get(host, {})), None)
    if content is None:
        return NOT_FOUND
    if request.path == shared:
        return redirect(f"{site.url('nihcc.app.box.com')}/public/static/{name}", 301)
    return redirect(site.sign("public.boxcloud.com", f"/d/1/{name}/download", content))
