"""The Open Science Framework: osf.io names a file by its guid, files.osf.io finds it, a storage sends it.

A folder asked for with `?zip=` is packed on the way: no length, no ranges, no ETag.
"""

from __future__ import annotations

import hashlib
import re

from tests.servers.exchange import Reply, Request, redirect, send_json
from tests.servers.site import Site

_GUID = re.compile(r"/download/([a-z0-9]+)/?|/([a-z0-9]+)/download/?")
_FILE = "/v1/resources/89kps/providers/osfstorage/"


def answer_front(site: Site, request: Request) -> Reply:
    """osf.io: to the file's place at files.osf.io."""
    match = _GUID.fullmatch(request.path)
    if not match or (guid := match[1] or match[2]) not in _guids(site):
        return send_json({"message_short": "Page not found"}, 404)
    return redirect(f"{site.url('files.osf.io')}{_FILE}{_identify(guid)}?action=download&direct&version=1")


def answer_files(site: Site, request: Request) -> Reply:
    """files.osf.io: a folder as a stream, a file by a link to the storage."""
    files = site.files.get(request.host, {})
    if request.argument("zip") is not None and request.path in files:
        told = {"Content-Type": "application/zip", "Content-Disposition": 'attachment; filename="archive.zip"'}
        return Reply(200, told, files[request.path], is_chunked=True)
    stored = {_FILE + _identify(guid): site.files["osf.io"][path] for guid, path in _guids(site).items()}
    stored |= files
    if request.path not in stored:
        return send_json({"code": 404, "message": "Could not retrieve file or directory"}, 404)
    content = stored[request.path]
    return redirect(site.sign("storage.googleapis.com", f"/cos-osf-prod-files-us-east1/{content.sha256}", content))


def _guids(site: Site) -> dict[str, str]:
    found = ((_GUID.fullmatch(path), path) for path in site.files.get("osf.io", {}))
    return {match[1] or match[2]: path for match, path in found if match}


def _identify(guid: str) -> str:
    """An id of 24 hex digits, as files.osf.io calls a file."""
    return hashlib.sha256(guid.encode()).hexdigest()[:24]
