"""A public bucket of S3: objects by key, the listing by prefix and delimiter in pages."""

from __future__ import annotations

import base64
from xml.etree import ElementTree

from tests.servers.exchange import LAST_MODIFIED, Content, Reply, Request, send_file
from tests.servers.site import Site

PAGE_SIZE = 1000
_NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"


def answer(site: Site, request: Request) -> Reply:
    files = site.files.get(request.host, {})
    if request.path in ("", "/"):
        return _list({path.removeprefix("/"): content for path, content in files.items()}, request)
    if request.path not in files:
        return _error("NoSuchKey", "The specified key does not exist.", 404)
    return send_file(request, files[request.path], headers={"Content-Type": "binary/octet-stream"})


def _list(objects: dict[str, Content], request: Request) -> Reply:
    if request.argument("list-type") != "2":
        return _error("AccessDenied", "Access Denied", 403)
    prefix, delimiter = request.argument("prefix") or "", request.argument("delimiter") or ""
    after = base64.b64decode(request.argument("continuation-token") or "").decode()
    size = min(int(request.argument("max-keys") or PAGE_SIZE), PAGE_SIZE)
    entries = sorted({_roll_up(key, prefix, delimiter) for key in objects if key.startswith(prefix)})
    entries = [entry for entry in entries if entry > after]
    page = entries[:size]

    root = ElementTree.Element("ListBucketResult", xmlns=_NAMESPACE)
    told = {"Name": request.host.partition(".")[0], "Prefix": prefix, "KeyCount": len(page), "MaxKeys": size}
    told["IsTruncated"] = str(len(page) < len(entries)).lower()
    if len(page) < len(entries):
        told["NextContinuationToken"] = base64.b64encode(page[-1].encode()).decode()
    for name, value in told.items():
        ElementTree.SubElement(root, name).text = str(value)
    for entry in page:
        if entry not in objects:
            ElementTree.SubElement(ElementTree.SubElement(root, "CommonPrefixes"), "Prefix").text = entry
            continue
        parts = {"Key": entry, "LastModified": "2026-04-13T00:00:00.000Z", "ETag": f'"{objects[entry].md5}"'}
        node = ElementTree.SubElement(root, "Contents")
        for name, value in (parts | {"Size": str(objects[entry].size_bytes), "StorageClass": "STANDARD"}).items():
            ElementTree.SubElement(node, name).text = value
    return _xml(root, 200)


def _roll_up(key: str, prefix: str, delimiter: str) -> str:
    """The key, or, where the delimiter stands behind the prefix, what it shares with others up to there."""
    rest = key.removeprefix(prefix)
    return prefix + rest.partition(delimiter)[0] + delimiter if delimiter and delimiter in rest else key


def _error(code: str, message: str, status: int) -> Reply:
    root = ElementTree.Element("Error")
    for name, value in {"Code": code, "Message": message, "RequestId": "0"}.items():
        ElementTree.SubElement(root, name).text = value
    return _xml(root, status)


def _xml(root: ElementTree.Element, status: int) -> Reply:
    body = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return Reply(status, {"Content-Type": "application/xml", "Last-Modified": LAST_MODIFIED}, Content(body))
