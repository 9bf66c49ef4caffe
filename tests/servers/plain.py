"""Hosts that send plain files (Open-i, Box, OSF, scholar.cu.edu.eg, GitHub's raw files)."""

from tests.servers.exchange import NOT_FOUND, Reply, Request, send_file
from tests.servers.site import Site


def answer(site: Site, request: Request) -> Reply:
    content = site.files[request.host].get(request.path)
    return send_file(request, content) if content else NOT_FOUND
