"""The Hugging Face hub: a dataset's commit and files by the API, and files by `resolve`.

It serves a small text file itself, after a relative redirect; all others are in LFS, on another host. A gated
repository lists its files and refuses to serve them: 401 without a token, 403 with another token.
"""

import re
from typing import Any
from urllib.parse import quote

from tests.servers.exchange import Content, Reply, Request, redirect, send_file, send_json
from tests.servers.site import Site

_ROUTE = re.compile(
    r"/(?P<api>api/)?(?P<cache>resolve-cache/)?datasets/(?P<repo>[^/]+/[^/]+)"
    r"(?:/(?P<what>revision|resolve|[0-9a-f]{40})(?:/(?P<rest>.*))?)?"
)
_TEXT = (".json", ".md", ".txt", ".gitattributes")
_MISSING = send_json({"error": "Entry not found"}, 404)


def answer(site: Site, request: Request) -> Reply:
    match = _ROUTE.fullmatch(request.path)
    if not match:
        return _MISSING
    repo, what, rest = match["repo"], match["what"], match["rest"]
    files, commits = _read(site, repo)
    if not files:
        return send_json({"error": "Repository not found"}, 401)
    if match["cache"]:
        return send_file(request, files[rest]) if rest in files else _MISSING
    commit, _, name = (rest or "").partition("/")
    if commit not in commits:
        return _MISSING
    if what == "resolve" and not match["api"]:
        token, sent = site.gated.get(repo), request.headers.get("Authorization")
        if token is not None and sent != f"Bearer {token}":
            return send_json({"error": f"Access to dataset {repo} is restricted."}, 401 if sent is None else 403)
        return _resolve(site, request, repo, commit, name, files.get(name))
    siblings = [_describe(path, content, request.argument("blobs")) for path, content in sorted(files.items())]
    return send_json({"id": repo, "sha": commit, "private": False, "siblings": siblings})


def _read(site: Site, repo: str) -> tuple[dict[str, Content], set[str]]:
    """The files by path, of all commits that URLs name, and these commits."""
    files, commits, begin = {}, set(), f"/datasets/{repo}/resolve/"
    for path, content in site.files.get("huggingface.co", {}).items():
        if path.startswith(begin):
            commit, _, name = path.removeprefix(begin).partition("/")
            commits.add(commit)
            files[name] = content
    return files, commits


def _resolve(site: Site, request: Request, repo: str, commit: str, name: str, content: Content | None) -> Reply:
    if content is None:
        return _MISSING
    if name.endswith(_TEXT):
        own = site.url(request.host).removeprefix(site.base)
        return redirect(f"{own}/api/resolve-cache/datasets/{repo}/{commit}/{quote(name)}", 307)
    return redirect(site.sign("cdn-lfs.hf.co", f"/repos/{content.sha256[:2]}/{content.sha256}", content))


def _describe(name: str, content: Content, has_blobs: str | None) -> dict[str, Any]:
    if not has_blobs:
        return {"rfilename": name}
    entry = {"rfilename": name, "size": content.size_bytes}
    lfs = {} if name.endswith(_TEXT) else {"lfs": {"sha256": content.sha256, "size": content.size_bytes}}
    return entry | lfs
