"""Text keys: rows have the same key if their texts differ only in spacing, case, punctuation or Unicode encoding.

A key does not cover images: the same short medical questions are asked about thousands of different images.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Sequence

import pyarrow as pa
import pyarrow.compute as pc

KEY_SIZE_BYTES = 16

_PLANE = [chr(point) for point in range(0x10000)]  # the basic plane; no living script folds beyond it
_INVISIBLE = {ord(char): None for char in _PLANE if unicodedata.category(char) == "Cf"}
_MARKS = [char for char in _PLANE if unicodedata.category(char)[0] == "P" and char != "%"]
# Punctuation that changes a number is kept: 1.5, 1/5 and 15, -5 and 5, .5 and 5 are different answers.
_KEPT = r"(?<!\d.(?=\d))(?<!(?<!\w)-(?=\.?\d))(?<!(?<!\w)\.(?=\d))"
_FOLDED = re.compile(f"[{re.escape(''.join(_MARKS))}]{_KEPT}")
_FOLDED_ASCII = re.compile(f"[{re.escape(''.join(filter(str.isascii, _MARKS)))}]{_KEPT}")  # ten times as fast

Turn = tuple[str, str, Sequence[str], str]  # question, context, options, answer


def normalize_text(text: str) -> str:
    """Fold compatibility forms (NFKC), case, spacing, and punctuation that is not part of a number. Idempotent."""
    if text.isascii():
        return " ".join(_FOLDED_ASCII.sub(" ", text.lower()).split())
    # Unicode's compatibility caseless form (section 3.13, D146), without invisible characters.
    text = unicodedata.normalize("NFD", text.translate(_INVISIBLE)).casefold()
    text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return " ".join(_FOLDED.sub(" ", text).split())


def make_key(turns: Iterable[Turn], labels: Sequence[str] = ()) -> bytes:
    """Key of a row's turns, and of its labels if it is a classification row; the order of options is ignored."""
    parts = [
        "\x1f".join(map(normalize_text, (question, context, answer, *sorted(options, key=normalize_text))))
        for question, context, options, answer in turns
    ]
    parts.append("\x1f".join(sorted(map(normalize_text, labels))))
    return hashlib.blake2b("\x1e".join(parts).encode(), digest_size=KEY_SIZE_BYTES).digest()


def make_keys(turns: pa.ListArray, labels: pa.ListArray) -> list[bytes]:
    """Keys of many rows, from the columns `turns` and `labels` of SAMPLE_SCHEMA."""
    flattened = turns.flatten()
    fields = [flattened.field(name).to_pylist() for name in ("question", "context", "options", "answer")]
    flat: list[Turn] = list(zip(*fields, strict=True))
    num_turns = pc.list_value_length(turns).to_numpy()
    ends = num_turns.cumsum()
    rows = zip((ends - num_turns).tolist(), ends.tolist(), labels.to_pylist(), strict=True)
    return [make_key(flat[start:end], names) for start, end, names in rows]
