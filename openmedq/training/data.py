"""A torch dataset that encodes samples on access, so that loader processes share the work.

Encoded samples are cached for the next epochs, up to a memory limit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from torch import Tensor
from torch.utils.data import Dataset

from openmedq.model.batch import Batch, collate, read_pixels
from openmedq.model.prompt import Encoded, encode
from openmedq.schema import Sample

MAX_CACHE_BYTES = 128 * 2**20  # per process


class Item(NamedTuple):
    """One encoded sample."""

    encoded: Encoded
    pixels: list[Tensor]  # (3, S, S) each

    @property
    def size_bytes(self) -> int:
        """Approximate size in memory."""
        return sum(tensor.nbytes for tensor in (self.encoded.ids, self.encoded.labels, *self.pixels))


class MicroBatch(NamedTuple):
    """A batch, and how many of its samples were cut to `max_tokens`."""

    batch: Batch
    num_cut_samples: int


class EncodedSamples(Dataset[Item]):
    """Samples as tokens and pixels."""

    def __init__(self, samples: Sequence[Sample], processor: Any, num_patches: int, max_tokens: int) -> None:
        self._samples = samples
        self._processor = processor
        self._num_patches = num_patches
        self._max_tokens = max_tokens
        self._cache: dict[int, Item] = {}
        self._cached_bytes = 0

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, number: int) -> Item:
        if number in self._cache:
            return self._cache[number]
        sample = self._samples[number]
        encoded = encode(sample, self._processor.tokenizer, self._num_patches, self._max_tokens)
        item = Item(encoded, [read_pixels(image, self._processor.image_processor) for image in sample.images])
        if self._cached_bytes + item.size_bytes <= MAX_CACHE_BYTES:
            self._cache[number] = item
            self._cached_bytes += item.size_bytes
        return item

    def collate(self, items: Sequence[Item]) -> MicroBatch:
        """Collate a training batch, padded on the right."""
        batch = collate(
            [item.encoded.ids for item in items],
            [pixels for item in items for pixels in item.pixels],
            pad_id=self._processor.tokenizer.pad_token_id,
            labels=[item.encoded.labels for item in items],
        )
        return MicroBatch(batch, sum(item.encoded.num_cut > 0 for item in items))
