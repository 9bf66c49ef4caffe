"""The Open Science Framework: osf.io names a file by its guid, files.osf.io finds it, api.osf.io lists a folder.

files.osf.io sends a file itself where it is asked `direct`, as osf.io asks it, and else by a link to the storage. A
folder asked for with `?zip=` is packed on the way: no length, no ranges, no ETag. The same folder's files are listed by
the API, ten a page, with their hashes and guids.
"""

from __future__ import annotations

import hashlib
import io
import re
import zipfile

from tests.servers.exchange import Content, Reply, Request, redirect, send_file, send_json
from tests.servers.site import Site

PAGE_SIZE = 10
_GUID = re.compile(r"/download/([a-z0-9]+)/?|/([a-z0-9]+)/download/?")
_FOLDER = re.compile(r"/v2/nodes/(\w+)/files/osfstorage/(\w+)/")
_FILE = "/v1/resources/89kps/providers/osfstorage/"


def answer_front(site: Site, request: Request) -> Reply:
    """osf.io: to the file's place at files.osf.io."""
    match = _GUID.fullmatch(request.path)
    if not match or (guid := match[1] or match[2]) not in _find(site):
        return send_json({"message_short": "Page not found"}, 404)
    return redirect(f"{site.url('files.osf.io')}{_FILE}{_digest(guid)}?action=download&direct&version=1")


def answer_files(site: Site, request: Request) -> Reply:
    """files.osf.io: a folder as a stream, a file itself or by a link to the storage."""
    files = site.files.get(request.host, {})
    if request.argument("zip") is not None and request.path in files:
        told = {"Content-Type": "application/zip", "Content-Disposition": 'attachment; filename="archive.zip"'}
        return Reply(200, told, files[request.path], is_chunked=True)
    stored = {_FILE + _digest(guid): content for guid, content in _find(site).items()}
    content = files.get(request.path) or stored.get(request.path)
    if content is None:
        return send_json({"code": 404, "message": "Could not retrieve file or directory"}, 404)
    if request.argument("direct") is not None:
        return send_file(request, content)
    return redirect(site.sign("storage.googleapis.com", f"/cos-osf-prod-files-us-east1/{content.sha256}", content))


def answer_api(site: Site, request: Request) -> Reply:
    """api.osf.io: one page of a folder."""
    match = _FOLDER.fullmatch(request.path)
    folder = site.files.get("files.osf.io", {}).get(
        f"/v1/resources/{match[1]}/providers/osfstorage/{match[2]}/" if match else ""
    )
    if folder is None:
        return send_json({"errors": [{"detail": "Not found."}]}, 404)
    members = sorted(_unpack(folder).items())
    number = int(request.argument("page") or 1)
    page = members[(number - 1) * PAGE_SIZE : number * PAGE_SIZE]
    has_more = number * PAGE_SIZE < len(members)
    following = f"{site.url(request.host)}{request.path}?page={number + 1}" if has_more else None
    return send_json({"data": [_describe(*member) for member in page], "links": {"next": following}})


def _describe(name: str, content: Content) -> dict[str, object]:
    hashes = {"sha256": content.sha256, "md5": content.md5}
    told = {"guid": _guid(name), "name": name, "kind": "file", "size": content.size_bytes, "extra": {"hashes": hashes}}
    return {"id": _digest(_guid(name)), "type": "files", "attributes": told}


def _find(site: Site) -> dict[str, Content]:
    """The files that have a guid: those published by it, and the members of folders."""
    placed = ((_GUID.fullmatch(path), content) for path, content in site.files.get("osf.io", {}).items())
    found = {match[1] or match[2]: content for match, content in placed if match}
    for path, content in site.files.get("files.osf.io", {}).items():
        if path.endswith("/"):
            found |= {_guid(name): member for name, member in _unpack(content).items()}
    return found


def _unpack(folder: Content) -> dict[str, Content]:
    packed = io.BytesIO(folder.read())
    if not zipfile.is_zipfile(packed):
        return {}
    with zipfile.ZipFile(packed) as archive:
        return {name: Content(archive.read(name)) for name in archive.namelist()}


def _guid(name: str) -> str:
    return "g" + _digest(name)[:9]  # longer than the real ones: of a miniature's hundreds no two are the same


def _digest(text: str) -> str:
    """24 hex digits, as files.osf.io calls a file."""
    return hashlib.sha256(text.encode()).hexdigest()[:24]
