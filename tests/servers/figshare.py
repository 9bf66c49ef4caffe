"""figshare: files by number, from a signed storage.

As reported in 2026: figshare.com/ndownloader/files/<id> answers programs with 202, a challenge and no byte, while
ndownloader.figshare.com/files/<id> and api.figshare.com/v2/file/download/<id> redirect to the storage.
"""

from __future__ import annotations

import re

from tests.servers.exchange import NOT_FOUND, Content, Reply, Request, redirect, send_file, send_json
from tests.servers.site import Site

HOSTS = ("figshare.com", "ndownloader.figshare.com", "api.figshare.com")
_ID = re.compile(r"/(?:ndownloader/files|files|v2/file/download)/(\d+)/?")
_ARTICLE = re.compile(r"/v2/articles/(\d+)(?:/versions/\d+)?(/files)?")


def answer(site: Site, request: Request) -> Reply:
    match = _ID.fullmatch(request.path)
    content = _find(site).get(match[1]) if match else None
    if not match or content is None:
        return NOT_FOUND
    return redirect(site.sign("s3-eu-west-1.amazonaws.com", f"/pfigshare-u-files/{match[1]}/file.zip", content))


def answer_guarded(site: Site, request: Request) -> Reply:
    return Reply(202, {"x-amzn-waf-action": "challenge"}) if _ID.fullmatch(request.path) else NOT_FOUND


def answer_api(site: Site, request: Request) -> Reply:
    """Any article's record lists all files: a card names files, not articles."""
    match = _ARTICLE.fullmatch(request.path)
    told = site.files.get(request.host, {}).get(request.path)  # a collection's articles, say
    if told:
        return send_file(request, told)
    if not match:
        return answer(site, request)
    files = [
        {
            "id": int(number),
            "name": "file.zip",
            "size": content.size_bytes,
            "computed_md5": content.md5,
            "supplied_md5": content.md5,
            "download_url": f"{site.url('ndownloader.figshare.com')}/files/{number}",
        }
        for number, content in _find(site).items()
    ]
    return send_json(files if match[2] else {"id": int(match[1]), "files": files})


def _find(site: Site) -> dict[str, Content]:
    placed = ((path, content) for host in HOSTS for path, content in site.files.get(host, {}).items())
    found = ((_ID.fullmatch(path), content) for path, content in placed)
    return {match[1]: content for match, content in found if match}
