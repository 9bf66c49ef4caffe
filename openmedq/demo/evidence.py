"""Training rows that are near to a question or an image. Only rows of open datasets are read.

Questions are compared by their words (cosine of TF-IDF vectors), images by their 32 x 32 gray thumbnails (correlation).
The rows show what the model was trained on. They do not show which rows an answer depends on.
"""

from collections import defaultdict
from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from sklearn.feature_extraction.text import TfidfVectorizer

from openmedq import paths
from openmedq.schema import Role, Sample, Turn
from openmedq.storage.images import THUMBNAIL_SIDE_PX
from openmedq.storage.shards import ShardStore
from openmedq.storage.tables import read_index

NUM_ROWS = 50_000  # at most: with an image each, 200 MB
COLUMNS = ("id", "source", "turns", "images.list.element.thumbnail")

Place = tuple[str, int]  # id of a row, and number of its turn


class Neighbor(NamedTuple):
    """The first of the training rows with the same dataset, question and answer, or with the same image."""

    similarity: float  # 0 to 1
    num_rows: int
    sample: Sample
    turn: Turn  # of the sample


class TrainingRows:
    """At most NUM_ROWS training rows of the mix, drawn from the datasets `sources` with a fixed seed."""

    def __init__(self, sources: Collection[str]) -> None:
        index = read_index()
        is_open = pc.is_in(index["source"], pa.array(sorted(sources), pa.string()))
        rows = index.filter(pc.and_(pc.equal(index["role"], Role.TRAIN.value), is_open))
        self.num_available = len(rows)
        rows = rows.take(np.sort(np.random.default_rng(0).permutation(len(rows))[:NUM_ROWS]))
        self.num_rows = len(rows)
        self._index, self._store = rows, ShardStore(paths.SAMPLES)
        self._texts: dict[tuple[str, str, str], list[Place]] = defaultdict(list)
        self._images: dict[bytes, list[Place]] = defaultdict(list)
        for group in self._store.scan_index(rows, COLUMNS):
            for row in group.rows.to_pylist():
                for number, turn in enumerate(row["turns"]):
                    if turn["question"].strip():
                        self._texts[row["source"], turn["question"], turn["answer"]].append((row["id"], number))
                for image in row["images"]:
                    self._images[image["thumbnail"]].append((row["id"], 0))
        self._words = TfidfVectorizer(token_pattern=r"\w+", dtype=np.float32)
        self._vectors = self._words.fit_transform(text for _, text, _ in self._texts) if self._texts else None
        self._thumbnails = standardize(list(self._images))

    def find_questions(self, question: str, most: int) -> list[Neighbor]:
        """Return the nearest questions, frequent ones first, that have a word in common with `question`."""
        if self._vectors is None:
            return []
        similarity = (self._vectors @ self._words.transform([question]).T).toarray()[:, 0]
        return self._pick(similarity, list(self._texts.values()), most)

    def find_images(self, thumbnails: Sequence[bytes], most: int) -> list[Neighbor]:
        """Return the images that are nearest to any of some images, given as their thumbnails."""
        if not thumbnails or not self._images:
            return []
        similarity = (self._thumbnails @ standardize(thumbnails).T).max(axis=1)
        return self._pick(similarity, list(self._images.values()), most)

    def _pick(self, similarity: NDArray[np.float32], places: Sequence[Sequence[Place]], most: int) -> list[Neighbor]:
        order = np.lexsort((np.array([-len(each) for each in places]), -similarity.round(4)))[:most]
        picked = [(similarity[number], places[number]) for number in order if similarity[number] > 0]
        ids = pa.array({each[0][0] for _, each in picked}, pa.string())
        samples = {each.id: each for each in self._store.take(self._index.filter(pc.is_in(self._index["id"], ids)))}
        return [
            Neighbor(min(1.0, float(value)), len(rows), samples[rows[0][0]], samples[rows[0][0]].turns[rows[0][1]])
            for value, rows in picked
        ]


def standardize(thumbnails: Sequence[bytes]) -> NDArray[np.float32]:
    """Return thumbnails, (N, 1024), with mean 0 and norm 1; an even one is all 0."""
    pixels = np.frombuffer(b"".join(thumbnails), np.uint8).reshape(-1, THUMBNAIL_SIDE_PX**2).astype(np.float32)
    pixels -= pixels.mean(axis=1, keepdims=True)
    pixels /= np.maximum(np.linalg.norm(pixels, axis=1, keepdims=True), 1)
    return pixels
