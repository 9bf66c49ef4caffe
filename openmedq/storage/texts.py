"""Text files: UTF-8, or UTF-16 and UTF-32 with a byte order mark, gzipped or not.

An invalid byte becomes a lone surrogate, so that only the record with the byte is rejected (see `datasets/fields.py`).
"""

import codecs
import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

from openmedq.errors import SourceError
from openmedq.storage import unexpected
from openmedq.storage.archives import MemberPath

_MARKS = {  # UTF-32 first: its mark begins with UTF-16's
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_GZIP = b"\x1f\x8b"
_ERRORS = "openmedq.lone_surrogates"  # `surrogateescape` does not support UTF-16


def _to_surrogates(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return "".join(chr(0xDC00 + byte) for byte in error.object[error.start : error.end]), error.end


codecs.register_error(_ERRORS, _to_surrogates)


@contextmanager
def open_text(path: Path | MemberPath, newline: str = "") -> Iterator[IO[str]]:
    """Open a text file. Gzip is detected by the first bytes, because browsers unpack files and keep the name.

    Raises:
        SourceError: the file is an unexpected one, or its gzip is damaged. A truncated gzip raises EOFError within
            the block, which becomes a SourceError if it is not caught there.
    """
    with path.open("rb") as raw:
        head = raw.read(unexpected.HEAD_BYTES)
        unexpected.refuse(path if isinstance(path, Path) else path.archive / path.member, head)
        raw.seek(0)
        packed = cast(IO[bytes], gzip.GzipFile(fileobj=raw)) if head.startswith(_GZIP) else raw
        try:
            encoding = _find_encoding(packed.read(4))
            packed.seek(0)
            with io.TextIOWrapper(packed, encoding=encoding, errors=_ERRORS, newline=newline) as text:
                yield text
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise SourceError(f"{path}: not a whole gzip ({error}); copy the file again") from None


def decode_text(data: bytes) -> str:
    """The text of a whole file."""
    return data.decode(_find_encoding(data[:4]), _ERRORS)


def _find_encoding(head: bytes) -> str:
    return next((encoding for mark, encoding in _MARKS.items() if head.startswith(mark)), "utf-8-sig")
