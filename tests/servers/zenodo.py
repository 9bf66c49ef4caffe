"""Zenodo: files of a record below /records and below /api/records, the record as JSON.

As observed: /records/<id>/files/<name> heeds ranges and /api/records/<id>/files/<name>/content does not; every answer
has Retry-After beside its X-RateLimit-*; the ETag is the file's md5 or absent; /record/ redirects to /records/.
"""

from __future__ import annotations

import re
from urllib.parse import quote

from tests.servers.exchange import NOT_FOUND, Content, Reply, Request, redirect, send_file, send_json
from tests.servers.site import Site

_FILE = re.compile(r"/records/(\d+)/files/(.+)")
_API_FILE = re.compile(r"/api/records/(\d+)/files/(.+)/content")
_API_RECORD = re.compile(r"/api/records/(\d+)")
_OLD = re.compile(r"/record/(.+)")
_LIMITS = {"X-RateLimit-Limit": "133", "X-RateLimit-Remaining": "132", "Retry-After": "60"}


def answer(site: Site, request: Request) -> Reply:
    files = site.files.get(request.host, {})
    if match := _OLD.fullmatch(request.path):
        query = f"?{request.query}" if request.query else ""
        return redirect(f"{site.url(request.host)}/records/{quote(match[1])}{query}", 301)
    if _FILE.fullmatch(request.path):
        return _send(request, files.get(request.path), has_ranges=True)
    if match := _API_FILE.fullmatch(request.path):
        return _send(request, files.get(f"/records/{match[1]}/files/{match[2]}"), has_ranges=False)
    if match := _API_RECORD.fullmatch(request.path):
        return _describe(site, request, match[1])
    return NOT_FOUND


def _send(request: Request, content: Content | None, *, has_ranges: bool) -> Reply:
    if content is None:
        return send_json({"status": 404, "message": "The persistent identifier does not exist."}, 404)
    name = request.path.removesuffix("/content").rpartition("/")[2]
    told = {"Content-Disposition": f"attachment; filename={name}", "Content-MD5": content.md5, **_LIMITS}
    etag = f'"md5:{content.md5}"'
    return send_file(request, content, name=name, etag=etag, headers=told, has_ranges=has_ranges)


def _describe(site: Site, request: Request, record: str) -> Reply:
    begin = f"/records/{record}/files/"
    files = [
        {
            "key": path.removeprefix(begin),
            "size": content.size_bytes,
            "checksum": f"md5:{content.md5}",
            "links": {"self": f"{site.url(request.host)}/api{quote(path)}/content"},
        }
        for path, content in site.files.get(request.host, {}).items()
        if path.startswith(begin)
    ]
    if not files:
        return send_json({"status": 404, "message": "The persistent identifier does not exist."}, 404)
    return send_json({"id": int(record), "state": "done", "submitted": True, "files": files})
