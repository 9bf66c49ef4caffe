"""Text keys: rows with the same key say the same, whatever the spacing, case, punctuation or encoding.

A key says nothing of pictures: short medical questions repeat by the thousand on different ones.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Sequence

import pyarrow as pa
import pyarrow.compute as pc

KEY_SIZE_BYTES = 16

_PLANE = [chr(point) for point in range(0x10000)]  # the basic plane: what folds beyond it is in no living script
_INVISIBLE = {ord(char): None for char in _PLANE if unicodedata.category(char) == "Cf"}
_MARKS = [char for char in _PLANE if unicodedata.category(char)[0] == "P" and char != "%"]
# What tells numbers apart is no mere punctuation: 1.5, 1/5 and 15, -5 and 5, .5 and 5 are different answers.
_KEPT = r"(?<!\d.(?=\d))(?<!(?<!\w)-(?=\.?\d))(?<!(?<!\w)\.(?=\d))"
_FOLDED = re.compile(f"[{re.escape(''.join(_MARKS))}]{_KEPT}")
_FOLDED_ASCII = re.compile(f"[{re.escape(''.join(filter(str.isascii, _MARKS)))}]{_KEPT}")  # ten times as fast

Turn = tuple[str, str, Sequence[str], str]  # question, context, options, answer


def normalize_text(text: str) -> str:
    """Fold compatibility forms (NFKC), case, spacing, and the punctuation that no number hangs on. Idempotent."""
    if text.isascii():
        return " ".join(_FOLDED_ASCII.sub(" ", text.lower()).split())
    # Unicode's compatibility caseless form (section 3.13, D146), without soft hyphens and the like.
    text = unicodedata.normalize("NFD", text.translate(_INVISIBLE)).casefold()
    text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return " ".join(_FOLDED.sub(" ", text).split())


def make_key(turns: Iterable[Turn], labels: Sequence[str] = ()) -> bytes:
    """Key of what a row says: its turns, and the labels of a classification row.

    Options and labels count as sets: a question with its options in another order is no other question.
    """
    parts = [
        "\x1f".join(map(normalize_text, (question, context, answer, *sorted(options, key=normalize_text))))
        for question, context, options, answer in turns
    ]
    parts.append("\x1f".join(sorted(map(normalize_text, labels))))
    return hashlib.blake2b("\x1e".join(parts).encode(), digest_size=KEY_SIZE_BYTES).digest()


def make_keys(turns: pa.ListArray, labels: pa.ListArray) -> list[bytes]:
    """Keys of many rows, from the columns `turns` and `labels` of SAMPLE_SCHEMA."""
    said = turns.flatten()
    fields = [said.field(name).to_pylist() for name in ("question", "context", "options", "answer")]
    flat: list[Turn] = list(zip(*fields, strict=True))
    num_turns = pc.list_value_length(turns).to_numpy()
    ends = num_turns.cumsum()
    rows = zip((ends - num_turns).tolist(), ends.tolist(), labels.to_pylist(), strict=True)
    return [make_key(flat[start:end], names) for start, end, names in rows]
