"""What the Hugging Face hub says of files before they are fetched: the commit, sizes, and the sha256 of large ones.

The bytes come like all others; `huggingface_hub` is asked for the rest, and honours `HF_ENDPOINT` and `HF_TOKEN`.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from typing import Any
from urllib.parse import unquote

from openmedq.acquire.client import NotNowError
from openmedq.acquire.credentials import HUB, advise
from openmedq.cards import File
from openmedq.errors import AcquisitionError

ADDRESS = re.compile(rf"https://{re.escape(HUB)}/datasets/([^/]+/[^/]+)/resolve/([^/]+)/(.+)")
COMMIT = re.compile(r"[0-9a-f]{40}")


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


def describe(files: Iterable[File], endpoint: str | None = None) -> list[File]:
    """The files, those of the hub with their commit, size and sha256 as it (or its `endpoint`) states them.

    Raises:
        NotNowError: the hub does not answer now.
        AcquisitionError: no such repository, revision or file, or no access to it.
    """
    listings: dict[tuple[str, str], dict[str, Any]] = {}
    commits: dict[tuple[str, str], str] = {}
    described = []
    for file in files:
        found = locate(file)
        if found is None:
            described.append(file)
            continue
        repository, revision, path = found
        place = (repository, revision)
        if place not in commits:
            commits[place] = _ask_commit(repository, revision, endpoint)
            listings[place] = _list(repository, commits[place], endpoint)
        entry = listings[place].get(unquote(path))
        if entry is None:
            there = ", ".join(sorted(listings[place])[:8])
            raise AcquisitionError(
                f"{unquote(path)}: not in {repository} on {HUB} at {commits[place]}, which holds {there} ..."
            )
        described.append(_hold(pin(file, commits[place]), entry))
    return described


def _ask_commit(repository: str, revision: str, endpoint: str | None) -> str:
    if COMMIT.fullmatch(revision):
        return revision
    info = _ask(repository, endpoint, lambda api: api.dataset_info(repository, revision=revision))
    return str(info.sha)


def _list(repository: str, commit: str, endpoint: str | None) -> dict[str, Any]:
    """The files of a repository by path."""
    entries = _ask(
        repository,
        endpoint,
        lambda api: list(api.list_repo_tree(repository, recursive=True, revision=commit, repo_type="dataset")),
    )
    return {entry.path: entry for entry in entries if hasattr(entry, "size")}


def _hold(file: File, entry: Any) -> File:
    """The file with what the hub states; AcquisitionError where the card states otherwise."""
    sha256 = entry.lfs.sha256 if entry.lfs else None
    for name, stated in (("size_bytes", entry.size), ("sha256", sha256)):
        pinned = getattr(file, name)
        if None not in (pinned, stated) and pinned != stated:
            raise AcquisitionError(f"{file.path}: {HUB} states {name} {stated}, the card {pinned}; correct the card")
    return file.model_copy(update={"size_bytes": entry.size, "sha256": sha256 or file.sha256})


def _ask(repository: str, endpoint: str | None, question: Any) -> Any:
    """An answer of the hub's API; its many errors in our two kinds, none of which holds a token."""
    from huggingface_hub import HfApi, errors

    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # its own retries, line by line
    try:
        return question(HfApi(endpoint, library_name="openmedq"))
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
            raise NotNowError(f"{HUB} answers {status}") from None
        advice = advise(HUB) if status in (401, 403) else "it may have moved"
        raise AcquisitionError(f"{repository}: {HUB} answers {status}; {advice}") from None
    except Exception as error:  # no connection, or a page in place of JSON: the library lets many kinds through
        what = "can't be reached" if "Connect" in type(error).__name__ else "gives no answer that can be read"
        raise NotNowError(f"{HUB} {what} ({type(error).__name__})") from None
