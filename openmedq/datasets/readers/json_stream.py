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
    if not text.startswith(opening, at):
        kind = "a JSON list" if opening == "[" else "a JSON object"
        raise SourceError(f"{path}: not the published JSON: expected {kind} at its beginning; copy it again")
    try:
        at = _skip(text, at + 1)
        is_end = text.startswith(closing, at)
        while not is_end:
            key, at = _take_key(text, at) if opening == "{" else (str(num_records + 1), at)
            value, end = _decode(text, at)
            if end == len(text) and not isinstance(value, dict | list | str):
                raise json.JSONDecodeError("a number that may be cut", text, end)
            num_records += 1
            yield key, value
            at = _skip(text, end)
            is_end = text.startswith(closing, at)
            at = _expect(text, at, closing if is_end else ",")
        at = at if num_records else _skip(text, at + 1)
    except (ValueError, RecursionError) as error:
        place = ""
        if isinstance(error, json.JSONDecodeError):
            if num_records and (error.msg.startswith("Unterminated string") or _TOKEN.fullmatch(text, error.pos)):
                where = str(num_records + 1) if opening == "[" else "at the file's end"
                detail = f"the file ends after {num_records} whole records; copy it again"
                yield where, Unusable(Reason.FILE_TRUNCATED, detail)
                return
            place = f" (line {error.lineno} column {error.colno})"
        problem = "nested too deeply" if isinstance(error, RecursionError) else str(error).split(":")[0]
        found = f"{problem} after record {num_records}{place}"
        raise SourceError(f"{path}: not the published JSON: {found}; copy the file again") from None
    if at < len(text):
        found = f"something follows its end, record {num_records}"
        raise SourceError(f"{path}: not the published JSON: {found}; copy the file again")


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
