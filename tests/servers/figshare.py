"""figshare: files by number, redirected to a signed storage link."""

import re

from tests.servers.exchange import NOT_FOUND, Content, Reply, Request, redirect, send_file, send_json
from tests.servers.site import Site

_ID = re.compile(r"/files/(\d+)/?")
_ARTICLE = re.compile(r"/v2/articles/\d+/files")


def answer(site: Site, request: Request) -> Reply:
    match = _ID.fullmatch(request.path)
    content = _find(site).get(match[1]) if match else None
    if not match or content is None:
        return NOT_FOUND
    return redirect(site.sign("s3-eu-west-1.amazonaws.com", f"/pfigshare-u-files/{match[1]}/file.zip", content))


def answer_api(site: Site, request: Request) -> Reply:
    """A published document, such as a collection's articles; else an article's list, which has all files."""
    document = site.files.get(request.host, {}).get(request.path)
    if document:
        return send_file(request, document)
    if not _ARTICLE.fullmatch(request.path):
        return NOT_FOUND
    return send_json(
        [
            {"id": int(number), "name": "file.zip", "size": content.size_bytes, "computed_md5": content.md5}
            for number, content in _find(site).items()
        ]
    )


def _find(site: Site) -> dict[str, Content]:
    published = ((_ID.fullmatch(path), each) for path, each in site.files.get("ndownloader.figshare.com", {}).items())
    return {match[1]: content for match, content in published if match}
