"""Zenodo: files of a record below /records, the record as JSON below /api/records.

As observed: every answer has Retry-After beside its X-RateLimit-*, and the ETag is the file's md5.
"""

import re

from tests.servers.exchange import Reply, Request, send_file, send_json
from tests.servers.site import Site

_FILE = re.compile(r"/records/(\d+)/files/(.+)")
_RECORD = re.compile(r"/api/records/(\d+)")
_LIMITS = {"X-RateLimit-Limit": "133", "X-RateLimit-Remaining": "132", "Retry-After": "60"}
_MISSING = send_json({"status": 404, "message": "The persistent identifier does not exist."}, 404)


def answer(site: Site, request: Request) -> Reply:
    files = site.files.get(request.host, {})
    if _FILE.fullmatch(request.path):
        content = files.get(request.path)
        if content is None:
            return _MISSING
        return send_file(request, content, etag=f'"md5:{content.md5}"', headers=_LIMITS)
    match = _RECORD.fullmatch(request.path)
    begin = f"/records/{match[1]}/files/" if match else ""
    entries = [
        {"key": path.removeprefix(begin), "size": content.size_bytes, "checksum": f"md5:{content.md5}"}
        for path, content in files.items()
        if match and path.startswith(begin)
    ]
    return send_json({"state": "done", "submitted": True, "files": entries}) if entries else _MISSING
