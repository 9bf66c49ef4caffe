"""Stream the records of published JSON: the file's text is in memory, but only one decoded record at a time.

Decoding is that of `json`: it accepts NaN (written by pandas) and repeated keys, and refuses deep nesting.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from openmedq.datasets.fields import Unusable
from openmedq.errors import SourceError
from openmedq.schema import Reason
from openmedq.storage import unexpected
from openmedq.storage.archives import MemberPath
from openmedq.storage.texts import decode_text, open_text

MAX_BYTES = 2**30  # the largest published file, PubMedQA's ori_pqaa.json, has 533 MB
MAX_LINE_CHARACTERS = 2**26  # a longer line is not a record

_decode = json.JSONDecoder().raw_decode
_TOKEN = re.compile(r"[-+.\w\\\ud800-\udfff]{0,10}\s*")  # the start of a token that the file's end cuts
_SPACE = re.compile(r"[ \t\n\r]*")


def stream_list(path: Path, data: bytes | None = None) -> Iterator[tuple[str, Any]]:
    """Yield the items of a JSON list with their numbers from 1.

    A cut file yields its whole records, then an `Unusable`. `data` are the file's bytes if it is in an archive; `path`
    is then only for errors.

    Raises:
        SourceError: Not a list, damaged before the end, no whole record, or more than MAX_BYTES.
    """
    return _stream(path, data, "[]")


def stream_object(path: Path) -> Iterator[tuple[str, Any]]:
    """Yield the keys and values of a JSON object, including repeated keys; otherwise like `stream_list`."""
    return _stream(path, None, "{}")


def stream_lines(path: Path | MemberPath) -> Iterator[tuple[str, Any]]:
    """Yield the records of a JSON lines file with their line numbers from 1, without blank lines.

    A line that is not JSON yields an `Unusable`.
    """
    with open_text(path, newline="\n") as lines:
        number = 0
        while line := lines.readline(MAX_LINE_CHARACTERS):
            number += 1
            if len(line) == MAX_LINE_CHARACTERS:
                raise SourceError(
                    f"{path}: line {number} has no line end; expected one JSON object per line; get the file again"
                )
            if line.strip():
                yield str(number), _parse_line(line, is_first=number == 1)


def _parse_line(line: str, *, is_first: bool) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        if line.endswith("\n") or is_first:
            return Unusable(Reason.FIELD_MISSING, "the line is not JSON")
        return Unusable(Reason.FILE_TRUNCATED, "the file ends within the line; copy it again")


def _stream(path: Path, data: bytes | None, brackets: str) -> Iterator[tuple[str, Any]]:
    text = _read(path, data)
    opening, closing = brackets[0], brackets[1]
    num_records, at = 0, _skip(text, 0)
    if text[at : at + 1] != opening:
        kind = "a JSON list" if opening == "[" else "a JSON object"
        raise SourceError(f"{path}: not the published JSON: expected {kind} at its beginning; copy it again")
    at = _skip(text, at + 1)
    is_end = text.startswith(closing, at)
    while not is_end:
        key = str(num_records + 1)
        try:
            if opening == "{":
                key, at = _take_key(text, at)
            value, at = _decode(text, at)
            at = _skip(text, at)
            is_end = text.startswith(closing, at)
            # A number at the file's end may be cut.
            if is_end or text.startswith(",", at) or (at == len(text) and isinstance(value, dict | list | str)):
                num_records += 1
                yield key, value
            if not is_end:
                at = _expect(text, at, ",")
        except (ValueError, RecursionError) as error:
            if num_records and _is_cut(text, error):
                where = str(num_records + 1) if opening == "[" else "at the file's end"
                detail = f"the file ends after {num_records} whole records; copy it again"
                yield where, Unusable(Reason.FILE_TRUNCATED, detail)
                return
            raise _damaged(path, text, error, num_records) from None
    at = _skip(text, at + 1)
    if at < len(text):
        raise _damaged(path, text, json.JSONDecodeError("something follows its end", text, at), num_records)


def _read(path: Path, data: bytes | None) -> str:
    size_bytes = path.stat().st_size if data is None else len(data)
    if size_bytes > MAX_BYTES:
        raise SourceError(f"{path}: {size_bytes} bytes of JSON are too large for memory; at most {MAX_BYTES} are read")
    if data is None:
        data = path.read_bytes()
    unexpected.refuse(path, data[: unexpected.HEAD_BYTES])
    return decode_text(data)


def _skip(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at


def _expect(text: str, at: int, character: str) -> int:
    """Return the place after `character`, which must come next, and after white space."""
    if not text.startswith(character, at):
        raise json.JSONDecodeError(f"expected `{character}`", text, at)
    return _skip(text, at + 1)


def _take_key(text: str, at: int) -> tuple[str, int]:
    key, end = _decode(text, at)
    if not isinstance(key, str):
        raise json.JSONDecodeError("a key is not a text", text, at)
    return key, _expect(text, _skip(text, end), ":")


def _is_cut(text: str, error: Exception) -> bool:
    """Whether the parser stopped because the text ends."""
    if not isinstance(error, json.JSONDecodeError):
        return False
    return error.msg.startswith("Unterminated string") or bool(_TOKEN.fullmatch(text, error.pos))


def _damaged(path: Path, text: str, error: Exception, num_records: int) -> SourceError:
    problem = "nested too deeply" if isinstance(error, RecursionError) else str(error).split(":")[0]
    place = f"line {error.lineno} column {error.colno}" if isinstance(error, json.JSONDecodeError) else ""
    where = f"after record {num_records}" if num_records else "in its first record"
    cut = ", where the file ends: it is cut" if _is_cut(text, error) else ""
    found = f"{problem} {where}{f' ({place})' if place else ''}{cut}"
    return SourceError(f"{path}: not the published JSON: {found}; copy the file again")
