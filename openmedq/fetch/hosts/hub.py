"""What the Hugging Face hub says of files before they are fetched: the commit, sizes, and the sha256 of large ones.

The bytes come like all others; `huggingface_hub` is asked for the rest. It sends the token where the client would.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from itertools import islice
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from yarl import URL

from openmedq.datasets.card import File
from openmedq.errors import AcquisitionError
from openmedq.fetch.addresses import is_private
from openmedq.fetch.client import Client, NotNowError, parse_wait_s
from openmedq.fetch.credentials import HUB, advise

if TYPE_CHECKING:
    from huggingface_hub import HfApi

ADDRESS = re.compile(rf"https://{re.escape(HUB)}/datasets/([^/]+/[^/]+)/resolve/([^/]+)/(.+)")
COMMIT = re.compile(r"[0-9a-f]{40}")
MAX_ENTRIES = 100_000
NUM_TIMEOUTS = 10  # which an answer may take as a whole: the library bounds the wait for each byte alone

_SHA256 = re.compile(r"[0-9a-f]{64}")


def locate(file: File) -> tuple[str, str, str] | None:
    """Repository, revision and path of a file of the hub; None for one that lies elsewhere."""
    found = ADDRESS.fullmatch(file.url)
    return (found[1], found[2], found[3]) if found else None


def is_pinned(file: File) -> bool:
    """Whether the address names a commit, or is none of the hub's."""
    found = locate(file)
    return found is None or COMMIT.fullmatch(found[1]) is not None


def pin(file: File, commit: str) -> File:
    """The same file at a commit."""
    repository, _, path = locate(file) or ("", "", "")
    return file.model_copy(update={"url": f"https://{HUB}/datasets/{repository}/resolve/{commit}/{path}"})


async def describe(client: Client, files: Iterable[File]) -> list[File]:
    """The files, those of the hub with their commit, size and sha256 as it (or what answers in its place) states them.

    Raises:
        NotNowError: the hub does not answer now.
        AcquisitionError: no such repository, revision or file, or no access to it.
    """
    listings: dict[tuple[str, str], tuple[str, dict[str, Any]]] = {}
    described = []
    for file in files:
        found = locate(file)
        if found is None:
            described.append(file)
            continue
        repository, revision, path = found
        if (repository, revision) not in listings:
            listings[repository, revision] = await _list(client, repository, revision)
        commit, entries = listings[repository, revision]
        entry = entries.get(unquote(path))
        if entry is None:
            there = ", ".join(sorted(entries)[:8])
            raise AcquisitionError(
                f"{unquote(path)}: not in {repository} on {HUB} at {commit}, which holds {there} ..."
            )
        described.append(_hold(pin(file, commit), entry))
    return described


async def _list(client: Client, repository: str, revision: str) -> tuple[str, dict[str, Any]]:
    """The commit of a revision, and its files by path."""
    commit = revision
    if not COMMIT.fullmatch(revision):
        info = await _ask(client, repository, lambda api: api.dataset_info(repository, revision=revision))
        commit = str(info.sha)
        if not COMMIT.fullmatch(commit):
            raise NotNowError(f"{HUB} gives no answer that can be read (its commit is none)")

    def list_tree(api: HfApi) -> list[Any]:  # lazily, page by page, so that a list without end has one
        tree = api.list_repo_tree(repository, recursive=True, revision=commit, repo_type="dataset")
        return list(islice(tree, MAX_ENTRIES + 1))

    entries = await _ask(client, repository, list_tree)
    if len(entries) > MAX_ENTRIES:
        raise AcquisitionError(f"{repository}: {HUB} lists more than {MAX_ENTRIES:,} files; its card has to follow")
    return commit, {entry.path: entry for entry in entries if hasattr(entry, "size")}


def _hold(file: File, entry: Any) -> File:
    """The file with what the hub states; AcquisitionError where that is nothing, or the card states otherwise."""
    sha256 = entry.lfs.sha256 if entry.lfs else None
    if type(entry.size) is not int or not (sha256 is None or _SHA256.fullmatch(str(sha256))):
        raise AcquisitionError(f"{file.path}: {HUB} states no size of it, or no sha256; look at {file.url}")
    for name, stated in (("size_bytes", entry.size), ("sha256", sha256)):
        pinned = getattr(file, name)
        if None not in (pinned, stated) and pinned != stated:
            raise AcquisitionError(f"{file.path}: {HUB} states {name} {stated}, the card {pinned}; correct the card")
    return file.model_copy(update={"size_bytes": entry.size, "sha256": sha256 or file.sha256})


async def _ask(client: Client, repository: str, question: Callable[[HfApi], Any]) -> Any:
    """An answer of the hub's API; its many errors in our two kinds, none of which holds a token."""
    from huggingface_hub import HfApi, errors

    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # its own retries, line by line
    base = URL(client.endpoint_of(HUB) or f"https://{HUB}")
    api = HfApi(str(base), token=None if is_private(base) else False, library_name="openmedq")  # None: as it finds it

    def ask() -> Any:
        with _token_stays_at(base):
            return question(api)

    try:
        return await _in_time(NUM_TIMEOUTS * client.execution.timeout_s, ask)
    except errors.GatedRepoError:
        raise AcquisitionError(
            f"{repository}: {HUB} wants its conditions accepted on its page, and {advise(HUB)}"
        ) from None
    except errors.RevisionNotFoundError:
        raise AcquisitionError(f"{repository}: {HUB} has no such revision (any more); its card has to follow") from None
    except errors.RepositoryNotFoundError:
        raise AcquisitionError(f"{repository}: not on {HUB}, or not for you to see; {advise(HUB)}") from None
    except errors.OfflineModeIsEnabled:
        raise AcquisitionError(f"{repository}: HF_HUB_OFFLINE forbids to ask {HUB}; unset it") from None
    except errors.HfHubHTTPError as error:
        status = error.response.status_code
        if status == 429 or status >= 500:
            wait_s = parse_wait_s(error.response.headers.get("Retry-After"))
            raise NotNowError(f"{HUB} answers {status}", wait_s) from None
        advice = advise(HUB) if status in (401, 403) else "it may have moved"
        raise AcquisitionError(f"{repository}: {HUB} answers {status}; {advice}") from None
    except TimeoutError:
        raise NotNowError(f"{HUB} gives no whole answer in time") from None
    except Exception as error:  # no connection, or a page in place of JSON: the library lets many kinds through
        what = "can't be reached" if "Connect" in type(error).__name__ else "gives no answer that can be read"
        raise NotNowError(f"{HUB} {what} ({type(error).__name__})") from None


@contextlib.contextmanager
def _token_stays_at(base: URL) -> Iterator[None]:
    """The library's requests to other places have no token: the pages of a list may lead there."""
    from huggingface_hub import get_session

    def hold(request: Any) -> None:
        if URL(str(request.url)).origin() != base.origin():
            request.headers.pop("Authorization", None)

    hooks = get_session().event_hooks["request"]
    hooks.append(hold)
    try:
        yield
    finally:
        hooks.remove(hold)


async def _in_time(seconds: float, question: Callable[[], Any]) -> Any:
    """What a blocking call returns; TimeoutError where it does not. Its thread, a daemon, keeps no process alive."""
    answer: Future[Any] = Future()
    answer.set_running_or_notify_cancel()  # who gives up does not cancel it: the thread has a place for its answer

    def ask() -> None:
        try:
            answer.set_result(question())
        except BaseException as error:
            answer.set_exception(error)

    threading.Thread(target=ask, daemon=True).start()
    return await asyncio.wait_for(asyncio.wrap_future(answer), seconds)
