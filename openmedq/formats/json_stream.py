"""JSON as datasets publish it, read record by record: memory does not grow with the file.

Bytes that are not UTF-8 become lone surrogates, so that the one record that holds them is rejected (see `fields`)
and not the whole file. What a record means is the source's business.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from openmedq.cards.fields import Unusable
from openmedq.errors import SourceError
from openmedq.io.archives import MemberPath
from openmedq.schema import Reason

CHUNK_CHARACTERS = 2**20
MAX_RECORD_CHARACTERS = 2**26  # a longer record is a damaged file: without a bound it would be read to its end
MAX_LINE_BYTES = 2**26

_decode = json.JSONDecoder().raw_decode
_SPACE = re.compile(r"[ \t\n\r]*")
_AFTER_VALUE = frozenset(" \t\n\r,:]}")


def stream_list(path: Path, data: bytes | None = None) -> Iterator[tuple[str, Any]]:
    """The items of a JSON list, each with its number from 1; SourceError where the file is cut or holds no list.

    `data` are the file's bytes where it lies in an archive; `path` then only says in errors which one it is.
    """
    raw = path.open("rb") if data is None else io.BytesIO(data)
    with io.TextIOWrapper(raw, encoding="utf-8-sig", errors="surrogateescape") as file:
        cursor = _Cursor(path, file)
        cursor.expect("[", "a JSON list")
        if not cursor.skip("]"):
            while True:
                value = cursor.take()
                cursor.num_records += 1
                yield str(cursor.num_records), value
                if cursor.skip("]"):
                    break
                cursor.expect(",", "a comma")
        cursor.expect_end()


def stream_object(path: Path) -> Iterator[tuple[str, Any]]:
    """The keys and values of a JSON object, repeated keys included; SourceError where it is cut or no object."""
    with path.open(encoding="utf-8-sig", errors="surrogateescape") as file:
        cursor = _Cursor(path, file)
        cursor.expect("{", "a JSON object")
        if not cursor.skip("}"):
            while True:
                key = cursor.take()
                if not isinstance(key, str):
                    raise cursor.damaged("a key is no text")
                cursor.expect(":", "a colon")
                value = cursor.take()
                cursor.num_records += 1
                yield key, value
                if cursor.skip("}"):
                    break
                cursor.expect(",", "a comma")
        cursor.expect_end()


def stream_lines(path: Path | MemberPath) -> Iterator[tuple[str, Any]]:
    """The records of a JSON lines file, each with its line number from 1; blank lines are none.

    A line that is not JSON comes as the `Unusable` that says so. SourceError where the last line is cut.
    """
    with path.open("rb") as lines:
        number = 0
        while line := lines.readline(MAX_LINE_BYTES):
            number += 1
            if len(line) == MAX_LINE_BYTES:
                raise SourceError(f"{path}: line {number} does not end; expected one JSON object a line")
            if number == 1:
                line = line.removeprefix(b"\xef\xbb\xbf")
            if not line.strip():
                continue
            record = _parse_line(line)
            if isinstance(record, Unusable) and not line.endswith(b"\n") and number > 1:
                raise SourceError(f"{path}: line {number}, the last, is cut; copy the file again")
            yield str(number), record


def _parse_line(line: bytes) -> Any:
    try:
        return json.loads(line.decode("utf-8", "surrogateescape"))
    except (ValueError, RecursionError):
        return Unusable(Reason.FIELD_MISSING, "the line is not JSON")


class _Cursor:
    """A place in a JSON text of which only a window is in memory."""

    def __init__(self, path: Path, file: TextIO) -> None:
        self.path = path
        self.num_records = 0
        self._file = file
        self._text = ""
        self._at = 0
        self._is_end = False

    def take(self) -> Any:
        """The JSON value that begins here."""
        self._peek()
        while True:
            problem = "no JSON value"
            try:
                value, end = _decode(self._text, self._at)
            except RecursionError:
                raise self.damaged("nested too deeply") from None
            except ValueError as error:
                problem = str(error).split(":")[0]
            else:
                # A number at the end of the window may go on beyond it, or may be cut; something must follow.
                if self._text[end : end + 1] in _AFTER_VALUE:
                    self._at = end
                    return value
            if self._is_end or len(self._text) - self._at > MAX_RECORD_CHARACTERS:
                raise self.damaged(problem)
            self._fill()

    def skip(self, character: str) -> bool:
        """Step over `character` if it comes next."""
        if self._peek() != character:
            return False
        self._at += 1
        return True

    def expect(self, character: str, what: str) -> None:
        """Step over `character`, which must come next."""
        if not self.skip(character):
            raise self.damaged(f"expected {what}")

    def expect_end(self) -> None:
        """Nothing may follow."""
        if self._peek():
            raise self.damaged("something follows its end")

    def damaged(self, problem: str) -> SourceError:
        """The error that says how far the file could be read."""
        where = f"after record {self.num_records}" if self.num_records else "at its beginning"
        cut = ", where the file ends: it is cut" if self._is_end and self._at >= len(self._text) else ""
        return SourceError(f"{self.path}: not the JSON that is published: {problem} {where}{cut}; copy the file again")

    def _peek(self) -> str:
        """The next character that is no space; "" at the end of the file."""
        while True:
            match = _SPACE.match(self._text, self._at)
            self._at = match.end() if match else self._at
            if self._at < len(self._text) or self._is_end:
                return self._text[self._at : self._at + 1]
            self._fill()

    def _fill(self) -> None:
        """Drop what is behind and read on; twice as much each time a value does not fit, so that work stays linear."""
        rest = self._text[self._at :]
        more = self._file.read(max(CHUNK_CHARACTERS, len(rest)))
        self._is_end = not more
        self._text, self._at = rest + more, 0
