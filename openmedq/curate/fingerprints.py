"""Text keys: rows have the same key if their texts differ only in spacing, case, punctuation, HTML or encoding.

A key does not cover images: the same short medical questions are asked about thousands of different images.
"""

import hashlib
import html
import re
import unicodedata
from collections.abc import Iterable, Sequence
from itertools import pairwise

import numpy as np
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
_END = "\0"  # between texts
_ENTITY = re.compile(r"&(#?\w+;)")
_INLINE, _BLOCK = (
    re.compile(rf"</?(?:{names})(?:\s[^<>=]+=[^<>]*)?\s*/?>", re.I)
    for names in ("a|b|em|font|i|span|strong|su[bp]|u", "br|div|h[1-6]|li|[ou]l|p|table|t[dhr]")
)


def strip_markup(text: str) -> str:
    """Replace HTML entities and no-break spaces, and remove the tags of formatted text."""
    if "&" in text:
        text = _ENTITY.sub(lambda match: html.unescape(match[0].lower()), text)
    text = text.replace("\u00a0", " ")
    return _BLOCK.sub("\n", _INLINE.sub("", text)) if "<" in text else text


def normalize_text(text: str) -> str:
    """Fold HTML, compatibility forms (NFKC), case, spacing, and punctuation that is not part of a number."""
    text = strip_markup(text)
    if text.isascii():
        return _fold_ascii(text.encode()).strip().decode()
    # Unicode's compatibility caseless form (section 3.13, D146), without invisible characters.
    text = unicodedata.normalize("NFD", text.translate(_INVISIBLE)).casefold()
    text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return " ".join(_FOLDED.sub(" ", text).split())


def _normalize_texts(texts: pa.StringArray) -> list[bytes]:
    """`normalize_text` of many texts, in UTF-8; those in ASCII in one go."""
    is_other = pc.or_(pc.match_substring_regex(texts, f"[&<{_END}]"), pc.invert(pc.string_is_ascii(texts)))
    plain = pc.replace_with_mask(texts, is_other, pa.scalar(""))
    joined = pc.binary_join(pa.ListArray.from_arrays([0, len(texts)], plain), f" {_END} ")
    folded = list(map(bytes.strip, _fold_ascii(joined[0].as_buffer().to_pybytes()).split(_END.encode())))
    for place in np.flatnonzero(np.asarray(is_other)).tolist():
        folded[place] = normalize_text(texts[place].as_py()).encode()
    return folded


def _fold_ascii(text: bytes) -> bytes:
    marked = _KEPT_ASCII.sub(lambda match: bytes([match[0][0] | _MARK]), text)
    return b" ".join(marked.translate(_TABLE).split())


def make_keys(turns: pa.ListArray, labels: pa.ListArray) -> list[bytes]:
    """Keys of rows, from the columns `turns` and `labels` of SAMPLE_SCHEMA; the order of options is ignored.

    Labels are those of classification rows.
    """
    flat = turns.flatten()
    options = flat.field("options")
    columns = [flat.field("question"), flat.field("context"), flat.field("answer"), options.flatten(), labels.flatten()]
    ends = np.cumsum([0, *map(len, columns)]).tolist()
    folded = _normalize_texts(pa.concat_arrays(columns))
    fields = [folded[start:end] for start, end in pairwise(ends[:4])]
    parts = [(*own, *more) for *own, more in zip(*fields, _sort_lists(folded, ends[3], options), strict=True)]
    turn_ends = pc.list_value_length(turns).to_numpy().cumsum().tolist()
    rows = zip(pairwise([0, *turn_ends]), _sort_lists(folded, ends[4], labels), strict=True)
    return [_hash((*parts[start:end], names)) for (start, end), names in rows]


def _sort_lists(folded: Sequence[bytes], first: int, lists: pa.ListArray) -> list[list[bytes]]:
    """The folded texts of each list; those of the first list begin at `first`."""
    ends = (pc.list_value_length(lists).to_numpy().cumsum() + first).tolist()
    return [sorted(folded[start:end]) if end > start else [] for start, end in pairwise([first, *ends])]


def _hash(parts: Iterable[Iterable[bytes]]) -> bytes:
    joined = b"\x1e".join(map(b"\x1f".join, parts))
    return hashlib.blake2b(joined, digest_size=KEY_SIZE_BYTES).digest()
