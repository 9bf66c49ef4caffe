"""The HTTP client: GET with bounded redirects and retries; credentials go to their own host only.

A fault that may pass is a RetryableError, which `retry` repeats; every other fault is an AcquisitionError. Messages
omit queries: signed links carry secrets there.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any, TypeVar, cast

import aiohttp
from pydantic import SecretStr, TypeAdapter, ValidationError
from yarl import URL

from openmedq.config import Execution
from openmedq.errors import AccessError, AcquisitionError, TemporaryError
from openmedq.fetch import addresses
from openmedq.fetch.addresses import plain

CHUNK_BYTES = 2**20
AGENT = "openmedq (downloads datasets; https://arxiv.org/abs/2606.12953)"
AGENTS = {"physionet.org": "Wget/1.21 (openmedq)"}  # PhysioNet accepts a password from wget only (its documentation)
MAX_REDIRECTS = 10
MAX_WAIT_S = 600.0  # a server that asks for a longer wait is given up
LATER = "; partial data is kept, run the command again later"
RETRYABLE_STATUS = {408, 425, 429, 500, 502, 503, 504, 507, 509, 520, 521, 522, 523, 524}

_PROGRESS_BYTES = 2**20  # new bytes after which `retry` counts failures from zero
_Result = TypeVar("_Result")


class RetryableError(Exception):
    """A temporary fault; `wait_s` if the server states how long to wait."""

    def __init__(self, what: str, wait_s: float | None = None) -> None:
        super().__init__(what)
        self.wait_s = wait_s


class Client:
    """Connections to all hosts, as an async context manager; ParamsError if an endpoint is not a URL."""

    def __init__(self, execution: Execution) -> None:
        self.execution = execution
        named = {host: (base, f"execution.endpoints.{host}") for host, base in execution.endpoints.items()}
        endpoints = {addresses.HUB: (os.environ.get("HF_ENDPOINT", ""), "HF_ENDPOINT"), **named}
        parsed = {host: addresses.parse_endpoint(base, name) for host, (base, name) in endpoints.items() if base}
        self._endpoints = dict(sorted(parsed.items(), key=lambda each: -len(each[1].path)))  # the most specific first
        self._secrets: dict[str, SecretStr | None] = {}
        self._documents: dict[str, Any] = {}
        self._session: aiohttp.ClientSession

    async def __aenter__(self) -> Client:
        """Open the session."""
        seconds = self.execution.timeout_s
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),  # callers limit themselves
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=seconds, sock_read=seconds),
            headers={"Accept-Encoding": "identity"},
            auto_decompress=False,  # files are stored as published
            trust_env=False,  # it would send netrc's default password to any host
            read_bufsize=CHUNK_BYTES,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close all connections."""
        await self._session.close()

    @asynccontextmanager
    async def get(self, url: str, headers: dict[str, str] | None = None) -> AsyncIterator[aiohttp.ClientResponse]:
        """The final response to a GET: 200, 206 or 416.

        Raises:
            RetryableError: no connection, a timeout, or a status that may change.
            AcquisitionError: the server refuses access or lacks the file.
        """
        target = self._resolve(URL(url))
        try:
            for _ in range(MAX_REDIRECTS):
                secret = self._find_credential(target)
                sent = {**(headers or {}), "User-Agent": AGENTS.get(self.host_of(target), AGENT)}
                if secret:
                    sent["Authorization"] = secret.get_secret_value()
                proxy = addresses.find_proxy(target)
                async with self._session.get(target, headers=sent, allow_redirects=False, proxy=proxy) as response:
                    location = response.headers.get("Location")
                    if response.status not in (301, 302, 303, 307, 308) or not location:
                        self._check_status(response, url, had_credentials=secret is not None)
                        yield response
                        return
                    target = self._follow(target, location)
            raise AcquisitionError(
                f"{plain(url)}: too many redirects; its address may have changed: see the dataset's page"
            )
        except aiohttp.ClientConnectorCertificateError:
            advice = "nothing was sent; check this machine's date, and the certificate of its proxy (SSL_CERT_FILE)"
            raise AcquisitionError(f"{plain(url)}: the server's certificate is not trusted; {advice}") from None
        except UnicodeError:  # of IDNA
            advice = "see execution.endpoints, HF_ENDPOINT and the dataset's page"
            raise AcquisitionError(
                f"{plain(url)}: its host, or the one it redirects to, is not a valid name; {advice}"
            ) from None
        except (aiohttp.ClientError, TimeoutError, ConnectionError) as error:
            raise RetryableError(_describe(error)) from None

    async def read(self, url: str) -> bytes:
        """Read a small document, with retries."""

        async def attempt() -> bytes:
            async with self.get(url) as response:
                return await response.read()

        return await retry(attempt, self.execution, plain(url))

    async def read_json(self, url: str, kind: type[_Result]) -> _Result:
        """Read a JSON document of a type, each once; AcquisitionError if it is of another form."""
        if url not in self._documents:
            try:
                self._documents[url] = TypeAdapter(kind).validate_json(await self.read(url))
            except ValidationError:
                raise AcquisitionError(
                    f"{plain(url)}: an answer of another form than expected; the API may have changed"
                ) from None
        return cast(_Result, self._documents[url])

    def host_of(self, target: URL) -> str:
        """The official host that a URL belongs to, also if an endpoint replaces the host."""
        for host, base in self._endpoints.items():
            if target.origin() == base.origin() and target.path.startswith(base.path):
                return host
        return target.host or ""

    def resolve(self, url: str) -> str:
        """The URL to request, for other programs that download: at the endpoint that replaces the host, if any."""
        return str(self._resolve(URL(url)))

    def _resolve(self, url: URL) -> URL:
        base = self._endpoints.get(url.host or "")
        if base is None:
            return url
        query = f"?{url.raw_query_string}" if url.raw_query_string else ""
        return URL(f"{base.origin()}{base.raw_path}{url.raw_path.lstrip('/')}{query}", encoded=True)

    def _find_credential(self, target: URL) -> SecretStr | None:
        host = self.host_of(target)
        if host not in self._secrets:
            self._secrets[host] = addresses.find_credential(host)
        return self._secrets[host] if addresses.is_private(target) else None

    def _follow(self, current: URL, location: str) -> URL:
        try:
            named = addresses.join(current, location)
        except ValueError:
            raise AcquisitionError(f"{plain(str(current))}: redirects to an invalid address") from None
        target = self._resolve(named)
        is_downgrade = addresses.is_private(current) and not addresses.is_private(target)
        if named.scheme not in ("http", "https") or is_downgrade:
            raise AcquisitionError(
                f"{plain(str(current))}: redirects to an unprotected {named.scheme}:// address; refused"
            )
        return target

    def _check_status(self, response: aiohttp.ClientResponse, url: str, *, had_credentials: bool) -> None:
        status, host = response.status, self.host_of(response.url)
        if status in (200, 206, 416):
            return
        name = f"{status} {HTTPStatus(status).phrase}" if status in set(HTTPStatus) else str(status)
        if status in RETRYABLE_STATUS:
            raise RetryableError(f"{host} answers {name}", parse_retry_after(response.headers.get("Retry-After")))
        if status in (401, 403):
            advice = (
                "your account may lack access, or the password is wrong: see the dataset's page"
                if had_credentials
                else addresses.advise_login(host)
            )
            raise AccessError(f"{plain(url)}: {host} answers {name}; {advice}")
        raise AcquisitionError(f"{plain(url)}: {host} answers {name}; the file may have moved: see the dataset's page")


async def retry(
    attempt: Callable[[], Awaitable[_Result]],
    execution: Execution,
    what: str,
    num_received: Callable[[], int] = lambda: 0,
) -> _Result:
    """Repeat an attempt while it raises RetryableError, with exponential backoff and jitter, or the server's wait.

    `num_received` returns the most bytes that any attempt received. Failures are counted from zero after at least 1 MiB
    of new bytes; so a server that always cuts, and always sends from the start, is given up.

    Raises:
        TemporaryError: `execution.attempts` in a row failed without new bytes.
    """
    num_failed, before = 0, num_received()
    while True:
        try:
            return await attempt()
        except RetryableError as error:
            now = num_received()
            num_failed = 1 if now - before >= _PROGRESS_BYTES else num_failed + 1
            before = now
            if num_failed >= execution.attempts or (error.wait_s or 0) > MAX_WAIT_S:
                asked = f", and asks to wait {error.wait_s:.0f} s" if error.wait_s else ""
                raise TemporaryError(f"{what}: {error}{asked} (attempt {num_failed}){LATER}") from None
            await asyncio.sleep(pause_s(num_failed, execution.backoff_s, error.wait_s))


async def run_workers(work: Callable[[], Coroutine[None, None, None]], num_workers: int) -> None:
    """Run `num_workers` copies of a coroutine until all end; the first exception cancels the others."""
    workers = [asyncio.ensure_future(work()) for _ in range(num_workers)]
    try:
        await asyncio.gather(*workers)
    finally:
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)


def pause_s(num_failed: int, backoff_s: float, asked_s: float | None = None) -> float:
    """Seconds to wait: a random value in the upper half of the doubled backoff, at least what the server asks for."""
    doubled = min(backoff_s * 2.0 ** min(num_failed - 1, 64), MAX_WAIT_S)
    return max(doubled * random.uniform(0.5, 1.0), asked_s or 0.0)


def parse_retry_after(header: str | None) -> float | None:
    """Seconds of a `Retry-After` header; None if it is not a number."""
    try:
        return max(0.0, float(header or ""))
    except ValueError:
        return None


def _describe(error: Exception) -> str:
    """What failed in a connection, without addresses."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"no connection ({error.os_error.strerror or type(error.os_error).__name__})"
    if isinstance(error, (aiohttp.ClientPayloadError, aiohttp.ServerDisconnectedError, ConnectionError)):
        return "the connection was cut"
    return f"the connection failed ({type(error).__name__})"
