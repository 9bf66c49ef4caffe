"""Hosts that send plain files (Open-i, scholar.cu.edu.eg, GitHub's raw files), and hosts of pages for people."""

from __future__ import annotations

from tests.servers.exchange import NOT_FOUND, Reply, Request, send_file, send_page
from tests.servers.site import Site


def answer(site: Site, request: Request) -> Reply:
    content = site.files[request.host].get(request.path)
    return send_file(request, content) if content else NOT_FOUND


def answer_page(site: Site, request: Request) -> Reply:
    return send_page(f"{request.host}: sign in to download")
