"""A public bucket of S3: objects by key, and the listing by prefix in pages."""

import base64
from xml.etree import ElementTree

from tests.servers.exchange import Content, Reply, Request, send_file
from tests.servers.site import Site

PAGE_SIZE = 1000


def answer(site: Site, request: Request) -> Reply:
    files = site.files.get(request.host, {})
    if request.path in ("", "/"):
        return _list({path.removeprefix("/"): content for path, content in files.items()}, request)
    if request.path not in files:
        return _xml("Error", {"Code": "NoSuchKey", "Message": "The specified key does not exist."}, 404)
    return send_file(request, files[request.path], headers={"Content-Type": "binary/octet-stream"})


def _list(objects: dict[str, Content], request: Request) -> Reply:
    if request.argument("list-type") != "2":
        return _xml("Error", {"Code": "AccessDenied", "Message": "Access Denied"}, 403)
    prefix = request.argument("prefix") or ""
    after = base64.b64decode(request.argument("continuation-token") or "").decode()
    keys = sorted(key for key in objects if key.startswith(prefix) and key > after)
    page, has_more = keys[:PAGE_SIZE], len(keys) > PAGE_SIZE
    head = {"Prefix": prefix, "KeyCount": len(page), "IsTruncated": str(has_more).lower()}
    if has_more:
        head["NextContinuationToken"] = base64.b64encode(page[-1].encode()).decode()
    contents = [{"Key": key, "ETag": f'"{objects[key].md5}"', "Size": objects[key].size_bytes} for key in page]
    return _xml("ListBucketResult", head, 200, contents)


def _xml(tag: str, head: dict[str, object], status: int, contents: list[dict[str, object]] | None = None) -> Reply:
    root = ElementTree.Element(tag, xmlns="http://s3.amazonaws.com/doc/2006-03-01/")
    nodes = [(root, head), *((ElementTree.SubElement(root, "Contents"), each) for each in contents or ())]
    for node, parts in nodes:
        for name, value in parts.items():
            ElementTree.SubElement(node, name).text = str(value)
    body = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return Reply(status, {"Content-Type": "application/xml"}, Content(body))
