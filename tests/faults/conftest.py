"""Empty projects, miniatures, and a search for secrets in all output."""

import base64
import logging
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from urllib.parse import unquote

import pytest

from openmedq.errors import OpenMedQError
from openmedq.fetch import addresses
from tests.datasets.conftest import miniature_of
from tests.fetch.conftest import project
from tests.servers import Server
from tests.servers.physionet import READER
from tests.servers.site import STORAGES

__all__ = ["miniature_of", "project"]

TOKEN = "hf_ofAReaderWhoKeepsIt"
LOGGERS = (None, "aiohttp", "asyncio", "httpcore2", "httpx2", "openmedq")  # Prefect raises the level of some


def log_in(patch: pytest.MonkeyPatch) -> None:
    """Set PhysioNet's password and the hub's token, as a user does."""
    for name, value in zip(addresses.VARIABLES["physionet.org"], READER, strict=True):
        patch.setenv(name, value)
    patch.setenv("HF_TOKEN", TOKEN)


def secrets_of(server: Server, login: tuple[str, str] = READER) -> set[str]:
    """Password and token, plain and encoded, and the signatures of links: no output may have them."""
    pair = base64.b64encode(":".join(login).encode()).decode()
    queries = {request.query for request in server.requests if request.host in STORAGES}
    return {login[1], pair, TOKEN} | queries | {unquote(query) for query in queries}


@dataclass
class Ear:
    """Collects what is printed, logged at any level and raised."""

    heard: list[str] = field(default_factory=list)
    servers: list[Server] = field(default_factory=list)

    def catch(self, command: Callable[[], object], server: Server) -> OpenMedQError | None:
        """Run a command; returns its error, which must be one line."""
        self.servers.append(server)
        try:
            command()
        except OpenMedQError as error:
            assert "\n" not in str(error) and len(str(error)) > 20
            self.heard += [*traceback.format_exception(error), repr(error)]
            return error
        return None


class _Listener(logging.Handler):
    def __init__(self, heard: list[str]) -> None:
        super().__init__()
        self._heard = heard

    def emit(self, record: logging.LogRecord) -> None:
        self._heard.append(self.format(record))


@pytest.fixture
def ear(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Ear]:
    """A user is logged in; at the end, no secret may be in the output."""
    log_in(monkeypatch)
    listening = Ear()
    listener = _Listener(listening.heard)  # caplog drops what the test itself logs
    levels = {logger: logger.level for logger in map(logging.getLogger, LOGGERS)}
    for logger in levels:
        logger.setLevel(logging.DEBUG)
    logging.root.addHandler(listener)
    yield listening
    logging.root.removeHandler(listener)
    for logger, level in levels.items():
        logger.setLevel(level)
    heard = "\n".join((*listening.heard, *capfd.readouterr()))
    for server in listening.servers:
        assert "Using selector" in heard, "debug logs are collected"
        for secret in secrets_of(server):
            assert secret not in heard
