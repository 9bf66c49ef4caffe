"""Hosts that send plain files (Open-i, Box, OSF, scholar.cu.edu.eg, GitHub's raw files)."""

from tests.servers.exchange import NOT_FOUND, Reply, Request, send_file
from tests.servers.site import Site


def answer(site: Site, request: Request) -> Reply:
    files = site.files[request.host]
    content = files.get(request.path) or files.get(f"{request.path}?{request.query}")
    return send_file(request, content) if content else NOT_FOUND
