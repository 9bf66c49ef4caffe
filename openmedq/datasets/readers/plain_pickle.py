"""Pickles of plain values (dicts, lists, tuples, sets, texts, bytes, numbers, booleans, None).

A pickle is a program that looks up names and calls them. Here no name is found, so that nothing can be called. Memory
is bounded by the file's size alone: a byte of a pickle can build an object of 216 bytes (a set), so that the 16 MiB
that are read take 3.5 GB at worst. The published ones have 5 MB.
"""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

from openmedq.errors import SourceError
from openmedq.storage import unexpected

MAX_BYTES = 2**24


class _Refused(Exception):  # noqa: N818 it never leaves this module: it becomes a SourceError
    """The pickle holds something that is no plain value: what."""


# Python's own unpickler, for its memo is a table: that of C takes as much memory as an index in the file asks for.
class _Unpickler(pickle._Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        raise _Refused("it names a class or a function")

    def persistent_load(self, pid: Any) -> Any:
        raise _Refused("it refers to an object outside of the file")

    def get_extension(self, code: int) -> Any:
        raise _Refused("it names a class or a function by a number")


def read_pickle(path: Path, advice: str) -> Any:
    """The plain value in a pickle file, as `load_pickle`; a file that is too large is not even opened."""
    _check_size(path.stat().st_size, str(path), advice)
    data = path.read_bytes()
    unexpected.refuse(path, data[: unexpected.HEAD_BYTES])
    return load_pickle(data, str(path), advice)


def load_pickle(data: bytes, where: str, advice: str) -> Any:
    """The plain value in a pickle; bytes that are not UTF-8 become lone surrogates, in that text alone.

    Lists and dicts may hold themselves, and one may stand in several places. What follows the end is not looked at.

    Raises:
        SourceError: in one line: `where` it is, what is refused or damaged, and `advice`.
    """
    _check_size(len(data), where, advice)
    file = io.BytesIO(data)
    try:
        return _Unpickler(file, encoding="utf-8", errors="surrogateescape").load()
    except _Refused as refused:
        raise SourceError(f"{where}: refused: {refused}; {advice}") from None
    except Exception:  # damaged bytes raise nearly anything, in words that may repeat the file's text
        raise SourceError(f"{where}: not a whole pickle (damaged or cut); {advice}") from None


def _check_size(size_bytes: int, where: str, advice: str) -> None:
    if size_bytes > MAX_BYTES:
        raise SourceError(f"{where}: {size_bytes} bytes, and at most {MAX_BYTES} of a pickle are read; {advice}")
