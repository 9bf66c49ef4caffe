"""Unexpected files: what a failed download or clone leaves in place of a published file.

Every way of opening a file calls `refuse` once: texts, Parquet and Arrow, archives, pickles and XML. Images are
checked when they are decoded, so that only the record is rejected.
"""

import re
from pathlib import Path

from openmedq.errors import ArchiveError, SourceError

HEAD_BYTES = 2048
ARCHIVE = "an archive"

# A text can be divided into comments in one way alone, so that no search is exponential. Possessive quantifiers do the
# same, but miss a second comment under Python 3.11.2.
_START = rb"(?:\xef\xbb\xbf)?\s*(?:<\?xml[^>]*>\s*)?(?:<!--(?:(?!-->).)*-->\s*)*"
_POINTER = re.compile(rb"\s*version https://git-lfs\.github\.com/spec/")
_PAGE = re.compile(_START + rb"<(?:!doctype\s+html|html|head|body)\b", re.IGNORECASE | re.DOTALL)
_ERROR = re.compile(_START + rb"<Error\b[^>]*>.*?(?:<Code>\s*(\w+)|\Z)", re.DOTALL)
_PLAIN = (b"entry not found", b"404: not found", b"not found", b"access denied", b"invalid username or password.")


def describe(head: bytes, folder: str = "its folder") -> tuple[str, str] | None:
    """What an unexpected file that begins with `head` is, and what to do; None if it may be the published one."""
    head = head[:HEAD_BYTES].translate(None, b"\0\xfe\xff")  # UTF-16 as ASCII
    if _POINTER.match(head):
        return "a Git LFS pointer", f'run "git lfs pull" in {folder}'
    if _PAGE.match(head):
        return "an HTML page", "download the file again: the host sent a web page (a login, a notice, an error)"
    if match := _ERROR.match(head):
        code = match[1].decode() if match[1] else "no code"
        return f"an XML error of its host ({code})", "download the file again, with access to it"
    if head.strip().lower() in _PLAIN:
        return f"an error of its host ({head.strip().decode().rstrip('.')})", "download the file again"
    return None


def refuse(path: Path, head: bytes | None = None, kind: str = "the published file") -> None:
    """Raise SourceError, or ArchiveError if `kind` is ARCHIVE, for an unexpected file at `path`.

    `head` is the beginning of the file, if it was already read.
    """
    if head is None:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
    if found := describe(head, str(path.parent)):
        what, advice = found
        error = ArchiveError if kind == ARCHIVE else SourceError
        raise error(f"{path} is {what}, not {kind}; {advice}")
