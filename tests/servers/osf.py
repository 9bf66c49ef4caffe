"""The Open Science Framework: osf.io redirects a file's id to files.osf.io, which serves it.

files.osf.io packs a folder that is requested with `?zip=` on the fly: no length, no ranges, no ETag.
"""

from __future__ import annotations

import re

from tests.servers.exchange import Reply, Request, redirect, send_file, send_json
from tests.servers.site import Site

_GUID = re.compile(r"/download/([a-z0-9]+)/?")
_FILE = "/v1/resources/89kps/providers/osfstorage/"


def answer_front(site: Site, request: Request) -> Reply:
    match = _GUID.fullmatch(request.path)
    if not match or request.path not in site.files.get("osf.io", {}):
        return send_json({"message_short": "Page not found"}, 404)
    return redirect(f"{site.url('files.osf.io')}{_FILE}{match[1]}?action=download&direct&version=1")


def answer_files(site: Site, request: Request) -> Reply:
    folder = site.files.get(request.host, {}).get(request.path)
    if folder and request.argument("zip") is not None:
        sent = {"Content-Type": "application/zip", "Content-Disposition": 'attachment; filename="archive.zip"'}
        return Reply(200, sent, folder, is_chunked=True)
    for path, content in site.files.get("osf.io", {}).items():
        if (match := _GUID.fullmatch(path)) and request.path == _FILE + match[1]:
            return send_file(request, content)
    return send_json({"code": 404, "message": "Could not retrieve file or directory"}, 404)
