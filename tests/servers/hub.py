"""Hugging Face's hub, as huggingface_hub asks it: trees, paths, a dataset's record, and files by `resolve`.

A small text file comes from the hub itself, after a relative redirect; all else is in LFS, on another host. A gated
repository tells what it holds and keeps the files: 401 without a token, 403 with another than its own.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import parse_qs, quote, unquote

from tests.servers.exchange import Content, Reply, Request, redirect, send_file, send_json
from tests.servers.site import Site

PAGE_SIZE = 5  # the real one's is 1000: here every listing of size is read in pages
_ROUTE = re.compile(
    r"/(?P<api>api/)?(?P<cache>resolve-cache/)?datasets/(?P<repo>[^/]+/[^/]+)"
    r"(?:/(?P<what>tree|paths-info|revision|resolve|[0-9a-f]{40})(?:/(?P<rest>.*))?)?"
)
_TEXT = (".json", ".md", ".txt", ".gitattributes")
_COMMIT = re.compile(r"[0-9a-f]{40}")


class _Repository:
    """The files of one dataset, of whichever revisions the URLs name, by path."""

    def __init__(self, site: Site, repo: str) -> None:
        self.files: dict[str, Content] = {}
        self.revisions = {"main"}
        self.name = repo
        begin = f"/datasets/{repo}/resolve/"
        for path, content in site.files.get("huggingface.co", {}).items():
            if path.startswith(begin):
                revision, _, name = path.removeprefix(begin).partition("/")
                self.revisions.add(revision)
                self.files[name] = content
        said = "".join(f"{name} {content.sha256}\n" for name, content in sorted(self.files.items()))
        pinned = sorted(filter(_COMMIT.fullmatch, self.revisions))
        self.sha = pinned[-1] if pinned else hashlib.sha1(said.encode(), usedforsecurity=False).hexdigest()

    def commit(self, revision: str) -> str | None:
        if revision == self.sha or (_COMMIT.fullmatch(revision) and revision in self.revisions):
            return revision
        return self.sha if revision in self.revisions else None

    def folders(self) -> set[str]:
        return {str(folder) for name in self.files for folder in PurePosixPath(name).parents if str(folder) != "."}

    def describe(self, name: str) -> dict[str, Any]:
        if name not in self.files:
            return {"type": "directory", "oid": _blob(name.encode()), "size": 0, "path": name}
        content = self.files[name]
        entry = {"type": "file", "oid": _oid(name, content), "size": content.size_bytes, "path": name}
        if _is_lfs(name):
            pointer_size = len(_pointer(content))
            entry["lfs"] = {"oid": content.sha256, "size": content.size_bytes, "pointerSize": pointer_size}
        return entry


def answer(site: Site, request: Request) -> Reply:
    match = _ROUTE.fullmatch(request.path)
    if not match:
        return _error("EntryNotFound", "Not found", 404)
    repository = _Repository(site, match["repo"])
    if not repository.files:
        return _error("RepoNotFound", "Repository not found", 401)
    if match["cache"]:
        return _send(request, repository, match["what"], match["rest"])
    revision, _, rest = (match["rest"] or "main").partition("/")
    commit = repository.commit(unquote(revision))
    if commit is None:
        return _error("RevisionNotFound", f"Invalid rev id: {revision}", 404)
    if match["what"] == "resolve" and not match["api"]:
        return _refuse(site, request, repository) or _resolve(site, request, repository, commit, rest)
    if match["what"] == "tree":
        return _list(site, request, repository, rest)
    if match["what"] == "paths-info":
        return _describe_paths(request, repository)
    return _describe(request, repository, commit)


def _refuse(site: Site, request: Request, repository: _Repository) -> Reply | None:
    token = site.gated.get(repository.name)
    told = request.headers.get("Authorization")
    if token is None or told == f"Bearer {token}":
        return None
    message = f"Access to dataset {repository.name} is restricted."
    return _error("GatedRepo", message, 401 if told is None else 403)


def _resolve(site: Site, request: Request, repository: _Repository, commit: str, name: str) -> Reply:
    content = repository.files.get(name)
    if content is None:
        return _error("EntryNotFound", "Entry not found", 404, X_Repo_Commit=commit)
    told = {"X-Repo-Commit": commit, "Accept-Ranges": "bytes", "X-Linked-Size": str(content.size_bytes)}
    if _is_lfs(name):
        told |= {"ETag": f'"{_oid(name, content)}"', "X-Linked-Etag": f'"{content.sha256}"'}
        link = redirect(site.sign("cdn-lfs.hf.co", f"/repos/{content.sha256[:2]}/{content.sha256}", content))
    else:
        told |= {"ETag": f'"{_oid(name, content)}"', "X-Linked-Etag": f'"{_oid(name, content)}"'}
        own = site.url(request.host).removeprefix(site.base)
        link = redirect(f"{own}/api/resolve-cache/datasets/{repository.name}/{commit}/{quote(name)}", 307)
    return Reply(link.status, {**link.headers, **told}, link.content)


def _send(request: Request, repository: _Repository, commit: str, name: str) -> Reply:
    if name not in repository.files or not _COMMIT.fullmatch(commit):
        return _error("EntryNotFound", "Entry not found", 404)
    content = repository.files[name]
    return send_file(request, content, etag=f'"{_oid(name, content)}"', headers={"X-Repo-Commit": commit})


def _list(site: Site, request: Request, repository: _Repository, folder: str) -> Reply:
    """One page of a tree; the next one's address is in the header Link."""
    if folder and folder not in repository.folders():
        return _error("EntryNotFound", f"{folder} does not exist", 404)
    begin = f"{folder}/" if folder else ""
    is_recursive = (request.argument("recursive") or "").lower() in ("true", "1")
    names = sorted(
        name
        for name in repository.folders() | repository.files.keys()
        if name.startswith(begin) and (is_recursive or "/" not in name.removeprefix(begin))
    )
    names = [name for name in names if name > (request.argument("cursor") or "")]
    page = [repository.describe(name) for name in names[:PAGE_SIZE]]
    if len(names) <= PAGE_SIZE:
        return send_json(page)
    recursive = f"recursive={is_recursive}&cursor={quote(names[PAGE_SIZE - 1], safe='')}"
    return send_json(page, Link=f'<{site.url(request.host)}{quote(request.path)}?{recursive}>; rel="next"')


def _describe_paths(request: Request, repository: _Repository) -> Reply:
    if "json" in request.headers.get("Content-Type", ""):
        paths = json.loads(request.body)["paths"]
    else:
        paths = parse_qs(request.body.decode()).get("paths", [])
    known = repository.folders() | repository.files.keys()
    return send_json([repository.describe(path) for path in paths if path in known])


def _describe(request: Request, repository: _Repository, commit: str) -> Reply:
    siblings = []
    for name in sorted(repository.files):
        entry = repository.describe(name)
        blob = {"size": entry["size"], "blobId": entry["oid"]}
        if "lfs" in entry:
            lfs = entry["lfs"]
            blob["lfs"] = {"sha256": lfs["oid"], "size": lfs["size"], "pointerSize": lfs["pointerSize"]}
        siblings.append({"rfilename": name, **(blob if request.argument("blobs") else {})})
    author = repository.name.partition("/")[0]
    return send_json({"id": repository.name, "author": author, "sha": commit, "private": False, "siblings": siblings})


def _is_lfs(name: str) -> bool:
    return not name.endswith(_TEXT)


def _oid(name: str, content: Content) -> str:
    """The id of the file's blob in git: of itself, or of the pointer that stands for it."""
    return _blob(_pointer(content) if _is_lfs(name) else content.read())


def _pointer(content: Content) -> bytes:
    return (
        f"version https://git-lfs.github.com/spec/v1\noid sha256:{content.sha256}\nsize {content.size_bytes}\n"
    ).encode()


def _blob(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0%b" % (len(data), data), usedforsecurity=False).hexdigest()


def _error(code: str, message: str, status: int, **headers: str) -> Reply:
    return send_json({"error": message}, status, X_Error_Code=code, X_Error_Message=message, **headers)
