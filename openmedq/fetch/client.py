"""The one HTTP client: a GET with bounded redirects, credentials for their own host alone, and trouble told apart.

What may pass by itself is a `NotNowError`, and `patiently` waits for it; all else is an AcquisitionError in one line.
No message holds a query: signed links carry secrets there.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from types import TracebackType
from typing import TypeVar

import aiohttp
from pydantic import SecretStr
from yarl import URL

from openmedq.config import Execution
from openmedq.errors import AccessError, AcquisitionError, PassingError
from openmedq.fetch import addresses, credentials
from openmedq.fetch.addresses import plain

CHUNK_BYTES = 2**20
AGENT = "openmedq (downloads datasets; https://arxiv.org/abs/2606.12953)"
AGENTS = {"physionet.org": "Wget/1.21 (openmedq)"}  # it takes a password from wget alone, as its pages say
MAX_REDIRECTS = 10
HEADERS_TIMES = 3  # of `execution.timeout_s`: for name, connection and all headers of an answer
MAX_WAIT_S = 600.0  # a server that asks for more is tried another day
MAX_DOCUMENT_BYTES = 64 * 2**20  # of listings and the like
LATER = "; what came is kept, run the command again later"
PASSING = {408, 425, 429, 500, 502, 503, 504, 507, 509, 520, 521, 522, 523, 524}

_Result = TypeVar("_Result")


class NotNowError(Exception):
    """Trouble that may pass; `wait_s` where the server says how long it takes."""

    def __init__(self, what: str, wait_s: float | None = None) -> None:
        """`what` went wrong, in a few words."""
        super().__init__(what)
        self.wait_s = wait_s


class Client:
    """Connections to all hosts; an async context manager."""

    def __init__(self, execution: Execution) -> None:
        """ParamsError where an endpoint is no URL."""
        self.execution = execution
        named = {host: (base, f"execution.endpoints.{host}") for host, base in execution.endpoints.items()}
        endpoints = {credentials.HUB: (os.environ.get("HF_ENDPOINT", ""), "HF_ENDPOINT"), **named}
        places = {host: addresses.parse_endpoint(base, name) for host, (base, name) in endpoints.items() if base}
        self._endpoints = dict(sorted(places.items(), key=lambda each: -len(each[1].path)))  # one may lie below another
        self._secrets: dict[str, SecretStr | None] = {}
        self._proxies: dict[URL, str | None] = {}  # by origin; to ask the system costs more than a small file
        self._session: aiohttp.ClientSession

    async def __aenter__(self) -> Client:
        """Open for requests."""
        seconds = self.execution.timeout_s
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),  # the callers bound themselves
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=seconds, sock_read=seconds),
            headers={"Accept-Encoding": "identity"},
            auto_decompress=False,  # a file is kept as it is published
            trust_env=False,  # which would send netrc's default password to anyone
            read_bufsize=CHUNK_BYTES,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close all connections."""
        await self._session.close()

    @asynccontextmanager
    async def get(self, url: str, headers: dict[str, str] | None = None) -> AsyncIterator[aiohttp.ClientResponse]:
        """The final response to a GET: 200, 206 or 416.

        Raises:
            NotNowError: no connection, no byte for too long, or a status that may change by itself.
            AcquisitionError: the server refuses, or has no such file.
        """
        target = self._place(URL(url))
        try:
            for _ in range(MAX_REDIRECTS):
                secret = self._find_credential(target)
                sent = {**(headers or {}), "User-Agent": AGENTS.get(self.host_of(target), AGENT)}
                if secret:
                    sent["Authorization"] = secret.get_secret_value()
                async with asyncio.timeout(HEADERS_TIMES * self.execution.timeout_s):  # each byte may come in good time
                    response = await self._session.get(
                        target, headers=sent, allow_redirects=False, proxy=self._find_proxy(target)
                    )
                async with response:
                    location = response.headers.get("Location")
                    if response.status not in (301, 302, 303, 307, 308) or not location:
                        self._check_status(response, url, had_credentials=secret is not None)
                        yield response
                        return
                    target = self._follow(target, location)
            raise AcquisitionError(f"{plain(url)}: redirects without end; its address may have changed")
        except aiohttp.ClientConnectorCertificateError:
            advice = "nothing was sent; check the date of this machine, and its proxy's certificate (SSL_CERT_FILE)"
            raise AcquisitionError(f"{plain(url)}: the server's certificate is not trusted; {advice}") from None
        except (aiohttp.ClientError, TimeoutError, ConnectionError) as error:
            raise NotNowError(_describe(error)) from None

    async def read_chunk(self, response: aiohttp.ClientResponse) -> bytes:
        """What comes next of a body; b"" at its end. TimeoutError after `timeout_s`, whatever else comes."""
        came = response.content.read_nowait(CHUNK_BYTES)  # a clock for what is here already would cost small files 5 %
        if came or response.content.at_eof():
            return came
        async with asyncio.timeout(self.execution.timeout_s):
            return await response.content.read(CHUNK_BYTES)

    async def read(self, url: str) -> bytes:
        """A small document whole, patiently."""

        async def attempt() -> bytes:
            async with self.get(url) as response:
                async with asyncio.timeout(MAX_WAIT_S):  # each byte may come in good time
                    data = await response.content.read(MAX_DOCUMENT_BYTES + 1)
                    while len(data) <= MAX_DOCUMENT_BYTES and (more := await response.content.read(MAX_DOCUMENT_BYTES)):
                        data += more
                if len(data) > MAX_DOCUMENT_BYTES:
                    raise AcquisitionError(f"{plain(url)}: more than {MAX_DOCUMENT_BYTES} bytes; expected a short list")
                return data

        return await patiently(attempt, self.execution, plain(url))

    def endpoint_of(self, host: str) -> str | None:
        """The base URL that answers in a host's place; None where it answers itself."""
        return str(self._endpoints[host]).rstrip("/") if host in self._endpoints else None

    def host_of(self, target: URL) -> str:
        """The host that a URL speaks to, endpoints taken for the host in whose place they answer."""
        for host, base in self._endpoints.items():
            if target.origin() == base.origin() and target.path.startswith(base.path):
                return host
        return target.host or ""

    def place(self, url: str) -> str:
        """Where a URL is asked for, for whoever asks in place of this client."""
        return str(self._place(URL(url)))

    def _place(self, url: URL) -> URL:
        """Where a URL is asked for: at an endpoint, where there is one for its host."""
        base = self._endpoints.get(url.host or "")
        if base is None:
            return url
        query = f"?{url.raw_query_string}" if url.raw_query_string else ""
        return URL(f"{base.origin()}{base.raw_path}{url.raw_path.lstrip('/')}{query}", encoded=True)

    def _find_credential(self, target: URL) -> SecretStr | None:
        host = self.host_of(target)
        if host not in self._secrets:
            self._secrets[host] = credentials.find(host)
        return self._secrets[host] if addresses.is_private(target) else None

    def _find_proxy(self, target: URL) -> str | None:
        origin = target.origin()
        if origin not in self._proxies:
            self._proxies[origin] = addresses.proxy_of(target)
        return self._proxies[origin]

    def _follow(self, here: URL, location: str) -> URL:
        try:
            named = addresses.join(here, location)
        except ValueError:
            raise AcquisitionError(f"{plain(str(here))}: redirects to what is no address") from None
        there = self._place(named)
        if named.scheme not in ("http", "https") or (addresses.is_private(here) and not addresses.is_private(there)):
            raise AcquisitionError(
                f"{plain(str(here))}: redirects to an unprotected {named.scheme}:// address; refused"
            )
        return there

    def _check_status(self, response: aiohttp.ClientResponse, url: str, *, had_credentials: bool) -> None:
        status = response.status
        if status in (200, 206, 416):
            return
        name = f"{status} {HTTPStatus(status).phrase}" if status in set(HTTPStatus) else str(status)
        if status in PASSING:
            raise NotNowError(
                f"{self.host_of(response.url)} answers {name}", parse_wait_s(response.headers.get("Retry-After"))
            )
        if status in (401, 403):
            host = self.host_of(response.url)
            advice = (
                "your account may lack the access, or the password is wrong: look at the set's page"
                if had_credentials
                else credentials.advise(host)
            )
            raise AccessError(f"{plain(url)}: {host} answers {name}; {advice}")
        raise AcquisitionError(f"{plain(url)}: {self.host_of(response.url)} answers {name}; it may have moved")


async def patiently(
    attempt: Callable[[], Awaitable[_Result]],
    execution: Execution,
    what: str,
    furthest: Callable[[], int] = lambda: 0,
) -> _Result:
    """The result of an attempt, tried again while trouble may pass: waits double, with jitter, or are the server's.

    `furthest` tells how far any attempt came, in bytes: they are counted anew after each that came further than all
    before it, but for a trickle. A server that cuts each time, and sends from the start each time, is so given up.
    PassingError, in one line, once `execution.attempts` in a row brought nothing.
    """
    num_failed, before = 0, furthest()
    while True:
        try:
            return await attempt()
        except NotNowError as trouble:
            now = furthest()
            num_failed = 1 if now - before >= _TRICKLE_BYTES else num_failed + 1
            before = now
            if num_failed >= execution.attempts or (trouble.wait_s or 0) > MAX_WAIT_S:
                asked = f", and to be left alone for {trouble.wait_s:.0f} s" if trouble.wait_s else ""
                raise PassingError(f"{what}: {trouble}{asked} (attempt {num_failed}){LATER}") from None
            await asyncio.sleep(pause_s(num_failed, execution.backoff_s, trouble.wait_s))


_TRICKLE_BYTES = 2**20


def pause_s(num_failed: int, backoff_s: float, asked_s: float | None = None) -> float:
    """Full jitter above half of the doubled wait; never less than the server asked for."""
    doubled = min(backoff_s * 2.0 ** min(num_failed - 1, 64), MAX_WAIT_S)
    return max(doubled * random.uniform(0.5, 1.0), asked_s or 0.0)


def parse_wait_s(header: str | None) -> float | None:
    """Seconds of a `Retry-After`, which says a number or a date."""
    if header is None:
        return None
    try:
        return max(0.0, float(header))
    except ValueError:
        pass
    try:
        return float(max(0.0, (parsedate_to_datetime(header) - datetime.now(UTC)).total_seconds()))
    except (ValueError, TypeError, OverflowError):
        return None


def _describe(error: Exception) -> str:
    """What went wrong with a connection, without addresses."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"no connection ({error.os_error.strerror or type(error.os_error).__name__})"
    if isinstance(error, (aiohttp.ClientPayloadError, aiohttp.ServerDisconnectedError, ConnectionError)):
        return "the connection was cut"
    return f"the connection failed ({type(error).__name__})"
