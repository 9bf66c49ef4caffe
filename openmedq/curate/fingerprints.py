"""Text keys: rows have the same key if their texts differ only in spacing, case, punctuation or Unicode encoding.

A key does not cover images: the same short medical questions are asked about thousands of different images.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Sequence
from itertools import pairwise

import pyarrow as pa
import pyarrow.compute as pc

KEY_SIZE_BYTES = 16

_PLANE = [chr(point) for point in range(0x10000)]  # the basic plane; no living script folds beyond it
_INVISIBLE = {ord(char): None for char in _PLANE if unicodedata.category(char) == "Cf"}
_MARKS = [char for char in _PLANE if unicodedata.category(char)[0] == "P" and char != "%"]
# Punctuation that changes a number is kept: 1.5, 1/5 and 15, -5 and 5, .5 and 5 are different answers.
_KEPT = r"(?<!\d.(?=\d))(?<!(?<!\w)-(?=\.?\d))(?<!(?<!\w)\.(?=\d))"
_FOLDED = re.compile(f"[{re.escape(''.join(_MARKS))}]{_KEPT}")
# The same for ASCII, twice as fast: marks the punctuation that is kept; a table replaces all other.
_KEPT_ASCII = re.compile(
    f"[{re.escape(''.join(filter(str.isascii, _MARKS)))}]"
    r"(?=\.?\d)(?:(?<=\d.)(?=\d)|(?<=(?<!\w)-)|(?<=(?<!\w)\.)(?=\d))".encode()
)
_MARK = 0x80
_SPACES = b"\t\n\v\f\r\x1c\x1d\x1e\x1f"
_TABLE = bytearray(range(_MARK)) * 2
for _char in map(chr, range(_MARK)):
    if _char in _MARKS or ord(_char) in _SPACES:
        _TABLE[ord(_char)] = ord(" ")
    else:
        _TABLE[ord(_char)] = ord(_char.lower())
_END = b"\0"  # between texts


def normalize_text(text: str) -> str:
    """Fold compatibility forms (NFKC), case, spacing, and punctuation that is not part of a number. Idempotent."""
    if text.isascii():
        return _fold_ascii(text.encode()).strip().decode()
    # Unicode's compatibility caseless form (section 3.13, D146), without invisible characters.
    text = unicodedata.normalize("NFD", text.translate(_INVISIBLE)).casefold()
    text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return " ".join(_FOLDED.sub(" ", text).split())


def _normalize_texts(texts: Sequence[str]) -> list[bytes]:
    """`normalize_text` of many texts, in UTF-8; those in ASCII in one go."""
    encoded = [text.encode() if text.isascii() and "\0" not in text else b"" for text in texts]
    folded = list(map(bytes.strip, _fold_ascii(b" \0 ".join(encoded)).split(_END))) if encoded else []
    for place, text in enumerate(texts):
        if text and not encoded[place]:
            folded[place] = normalize_text(text).encode()
    return folded


def _fold_ascii(text: bytes) -> bytes:
    marked = _KEPT_ASCII.sub(lambda match: bytes([match[0][0] | _MARK]), text)
    return b" ".join(marked.translate(_TABLE).split())


def make_keys(turns: pa.ListArray, labels: pa.ListArray) -> list[bytes]:
    """Keys of rows, from the columns `turns` and `labels` of SAMPLE_SCHEMA; the order of options is ignored.

    Labels are those of classification rows.
    """
    flat = turns.flatten()
    num_turns, options = len(flat), flat.field("options")
    texts = [text for name in ("question", "context", "answer") for text in flat.field(name).to_pylist()]
    folded = _normalize_texts(texts + options.flatten().to_pylist())
    fields = [folded[start * num_turns : (start + 1) * num_turns] for start in range(3)]
    ends = (pc.list_value_length(options).to_numpy().cumsum() + 3 * num_turns).tolist()
    offered = [sorted(folded[start:end]) for start, end in pairwise([3 * num_turns, *ends])]
    parts = [(*own, *more) for *own, more in zip(*fields, offered, strict=True)]
    ends = pc.list_value_length(turns).to_numpy().cumsum().tolist()
    rows = zip(pairwise([0, *ends]), labels.to_pylist(), strict=True)
    return [_hash(parts[start:end], names) for (start, end), names in rows]


def _hash(turns: Sequence[Sequence[bytes]], labels: Sequence[str]) -> bytes:
    names = sorted(_normalize_texts(labels)) if labels else []
    parts = [b"\x1f".join(fields) for fields in (*turns, names)]
    return hashlib.blake2b(b"\x1e".join(parts), digest_size=KEY_SIZE_BYTES).digest()
