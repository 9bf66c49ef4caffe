"""Find the training questions that are near copies of evaluation questions, in one pass over the training rows.

The evaluation questions are few, so their rarest pairs of adjacent words are indexed (the prefix filter of set
similarity joins). A training question that shares enough of them is a candidate, which `questions.compare` decides.
Nothing is kept of the other training questions.
"""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from openmedq.curate.fingerprints import strip_markup
from openmedq.curate.questions import Question, compare

INDEXED = 16  # rarest pairs of words of a question, and as many of its context
SHARED = 1 / 4  # of the indexed pairs, at most MAX_SHARED, makes a candidate
MAX_SHARED = 3

Hashes = NDArray[np.uint64]
Numbers = NDArray[np.int64]

_FIELDS = ("question", "context")
_MAX_WORD_BYTES = 64
# A word's hash is a polynomial of its bytes, modulo 2**64. The odd factors are those of splitmix64, xxHash and murmur3.
_POWERS = np.uint64(0x9E3779B97F4A7C15) ** np.arange(1, _MAX_WORD_BYTES + 1, dtype=np.uint64)
_NEXT, _MIX = np.uint64(0xC2B2AE3D27D4EB4F), np.uint64(0xFF51AFD7ED558CCD)
_BITMAP_BITS = 22  # 4 MB: most pairs of words are in no evaluation question, and are not searched further
_LETTERS = np.zeros(256, np.uint8)  # lower-case letters and digits; other bytes of UTF-8 count as letters
for _byte in range(256):
    if _byte >= 0x80 or chr(_byte).isalnum():
        _LETTERS[_byte] = ord(chr(_byte).lower()) if _byte < 0x80 else _byte


class QuestionIndex:
    """Questions of evaluation rows, by their rarest pairs of words."""

    def __init__(self, turns: pa.ListArray, rows: Numbers) -> None:
        """Index turns of SAMPLE_SCHEMA; `rows` (len(turns),) are the numbers of their rows."""
        parents = pc.list_parent_indices(turns).to_numpy()
        structs = pc.list_flatten(turns)
        self._rows = rows[parents]
        self._questions = list(read_questions(structs))
        places = [_select_rarest(*_hash_pairs(structs.field(name))) for name in _FIELDS]
        owners, hashes = (np.concatenate(each) for each in zip(*places, strict=True))
        order = np.lexsort((owners, hashes))
        self._owners = owners[order]
        self._hashes, self._starts, self._counts = np.unique(hashes[order], return_index=True, return_counts=True)
        num_indexed = np.bincount(owners, minlength=len(structs))
        self._needed = np.clip((num_indexed * SHARED).astype(np.int64), 1, MAX_SHARED)
        self._bitmap = np.zeros(2**_BITMAP_BITS, np.bool_)
        self._bitmap[_to_slot(self._hashes)] = True

    def find(self, turns: pa.ListArray) -> Iterator[tuple[int, int, float]]:
        """Yield copies as (position in `turns`, number of the evaluation row, share of equal words)."""
        parents = pc.list_parent_indices(turns).to_numpy()
        structs = pc.list_flatten(turns)
        pairs = self._find_candidates(structs)
        distinct, places = np.unique(pairs[:, 0], return_inverse=True)
        questions = list(read_questions(structs.take(pa.array(distinct))))
        for place, (turn, owner) in zip(places.tolist(), pairs.tolist(), strict=True):
            share = compare(self._questions[owner], questions[place])
            if share is not None:
                yield int(parents[turn]), int(self._rows[owner]), share

    def _find_candidates(self, structs: pa.StructArray) -> Numbers:
        """Pairs (turn, indexed turn) that share enough pairs of words: (C, 2), sorted."""
        found = []
        for name in _FIELDS:
            texts, hashes = _hash_pairs(structs.field(name))
            is_hit = self._bitmap[_to_slot(hashes)]
            texts, hashes = texts[is_hit], hashes[is_hit]
            slots = np.searchsorted(self._hashes, hashes)
            is_hit = (
                self._hashes[np.minimum(slots, len(self._hashes) - 1)] == hashes if len(self._hashes) else slots < 0
            )
            found.append(np.stack([texts[is_hit], slots[is_hit]], axis=1))
        texts, slots = np.unique(np.concatenate(found), axis=0).T  # a pair of words that a text repeats counts once
        counts = self._counts[slots]
        ends = np.cumsum(counts)
        owners = self._owners[np.arange(counts.sum()) - np.repeat(ends - counts - self._starts[slots], counts)]
        pairs, num_shared = np.unique(np.repeat(texts, counts) * len(self._questions) + owners, return_counts=True)
        texts, owners = np.divmod(pairs, max(len(self._questions), 1))
        is_candidate = num_shared >= self._needed[owners]
        return np.stack([texts[is_candidate], owners[is_candidate]], axis=1)


def read_questions(turns: pa.StructArray) -> Iterator[Question]:
    """The turns of SAMPLE_SCHEMA, flattened."""
    columns = [turns.field(name).to_pylist() for name in ("question", "context", "options", "answer")]
    for question, context, options, answer in zip(*columns, strict=True):
        offered = tuple(map(strip_markup, options))
        yield Question(strip_markup(question), strip_markup(context), offered, strip_markup(answer))


def _hash_pairs(texts: pa.StringArray) -> tuple[Numbers, Hashes]:
    """The pairs of adjacent words of all texts: the number of the text, and a hash, each (W,)."""
    is_marked = pc.match_substring_regex(texts, "[&<\u00a0]")
    marked = pa.array(map(strip_markup, texts.filter(is_marked).to_pylist()), pa.string())
    texts = pc.replace_with_mask(texts, is_marked, marked) if len(marked) else texts
    offsets = np.frombuffer(texts.buffers()[1], np.int32)[texts.offset : texts.offset + len(texts) + 1].astype(np.int64)
    data = np.frombuffer(texts.buffers()[2] or b"", np.uint8)[offsets[0] : offsets[-1]]
    offsets -= offsets[0]
    letters = _LETTERS[data]
    is_letter = letters > 0
    is_start = is_letter.copy()
    is_start[1:] &= ~is_letter[:-1]
    begins = offsets[:-1][offsets[:-1] < len(data)]
    is_start[begins] = is_letter[begins]
    is_chinese = (data >= 0xE3) & (data <= 0xE9)  # first byte of three; each character is a word
    is_start |= is_chinese
    is_start[3:] |= is_chinese[:-3] & is_letter[3:]
    places = np.flatnonzero(is_letter)
    starts = np.flatnonzero(is_start)
    if len(starts) < 2:
        return np.empty(0, np.int64), np.empty(0, np.uint64)
    words = np.cumsum(is_start)[places] - 1
    powers = _POWERS[np.minimum(places - starts[words], _MAX_WORD_BYTES - 1)]
    hashes = np.add.reduceat(letters[places] * powers, np.flatnonzero(is_start[places]))
    owners = np.searchsorted(offsets, starts, side="right") - 1
    is_same = owners[1:] == owners[:-1]
    pairs = (hashes[:-1] * _NEXT + hashes[1:])[is_same]
    pairs ^= pairs >> np.uint64(33)
    pairs *= _MIX
    return owners[:-1][is_same], pairs ^ (pairs >> np.uint64(33))


def _select_rarest(owners: Numbers, hashes: Hashes) -> tuple[Numbers, Hashes]:
    """The INDEXED pairs of words of each text that the fewest texts have."""
    distinct = np.unique(np.stack([owners.astype(np.uint64), hashes], axis=1), axis=0)
    owners, hashes = distinct[:, 0].astype(np.int64), distinct[:, 1]
    _, numbers, counts = np.unique(hashes, return_inverse=True, return_counts=True)
    order = np.lexsort((hashes, counts[numbers], owners))
    owners, hashes = owners[order], hashes[order]
    first = np.searchsorted(owners, owners)
    is_kept = np.arange(len(owners)) - first < INDEXED
    return owners[is_kept], hashes[is_kept]


def _to_slot(hashes: Hashes) -> Hashes:
    return hashes >> np.uint64(64 - _BITMAP_BITS)
