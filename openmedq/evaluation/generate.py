"""Answer questions with a saved model, by greedy decoding.

Rows are read in windows. While the device answers a window, a thread reads the next one: it tokenizes the prompts and
decodes the images. The rows of a window are sorted by length and divided into batches with a limit of tokens. A row
leaves its batch when its answer ends. An image that several rows show is decoded once in a window, and encoded once in
a batch.

In fp32 the answers do not depend on the batches and the order of the rows. In bf16 rounding decides between tokens of
nearly equal probability, and it can depend on the batch (measured in `bench/generate.py`).
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import DynamicCache, LlavaForConditionalGeneration

from openmedq.evaluation.metrics.choices import read_answer
from openmedq.model.batch import Batch, collate
from openmedq.model.pixels import decode
from openmedq.model.prompt import encode_prompt
from openmedq.schema import Sample

END, LENGTH = "end", "length"  # why an answer stops: the model ended it, or it has `max_new_tokens` tokens
WINDOW = 8  # rows of a window, in rows of a batch


class Answer(NamedTuple):
    """The answer to one question."""

    text: str
    num_tokens: int  # that the model wrote, without the end
    stop: str  # END or LENGTH
    is_cut: bool  # the prompt was longer than the model's limit, and was shortened
    probability: float  # of these tokens and, with END, of the end


Answerer = Callable[[Iterable[Sample]], Iterator[Answer]]


class _Row(NamedTuple):
    """A question as the model reads it."""

    sample: Sample  # without its images
    ids: Tensor  # (T,) int64
    pixels: list[Tensor]  # each (3, S, S) uint8
    is_cut: bool


def make_answerer(
    model: LlavaForConditionalGeneration, processor: Any, *, max_new_tokens: int, batch_size: int
) -> Answerer:
    """Return a function that yields the answer to the last question of each sample, in order.

    `batch_size` is the number of rows of maximum length in a forward pass; shorter rows form larger batches.

    The cache of keys and values is dynamic, so that rows whose answer has ended can be removed.
    """
    max_tokens = batch_size * (processor.tokenizer.model_max_length + max_new_tokens)

    def read_window(samples: Iterator[Sample]) -> list[_Row]:
        decoded: dict[bytes | Path | None, Tensor] = {}
        window = islice(samples, count_window_rows(batch_size))
        return [_read(sample, model, processor, decoded) for sample in window]

    def answer_window(rows: Sequence[_Row]) -> list[Answer]:
        answers: dict[int, Answer] = {}
        for places in divide([len(row.ids) + max_new_tokens for row in rows], max_tokens):
            batch = [rows[place] for place in places]
            answers.update(zip(places, _answer(batch, model, processor, max_new_tokens), strict=True))
        return [answers[place] for place in range(len(rows))]

    def answer(samples: Iterable[Sample]) -> Iterator[Answer]:
        left = iter(samples)
        with ThreadPoolExecutor(1) as reader:
            ahead = reader.submit(read_window, left)
            while rows := ahead.result():
                ahead = reader.submit(read_window, left)
                yield from answer_window(rows)

    return answer


def count_window_rows(batch_size: int) -> int:
    """The number of rows that are read and sorted together. Windows are answered independently of each other."""
    return WINDOW * batch_size


def divide(lengths: Sequence[int], max_tokens: int) -> list[list[int]]:
    """Divide rows into batches of at most `max_tokens` tokens with padding, and at least one row; the longest first."""
    batches: list[list[int]] = []
    most = 0
    for place in sorted(range(len(lengths)), key=lambda place: -lengths[place]):  # the first is the longest
        if not batches or len(batches[-1]) == most:
            batches.append([])
            most = max(1, max_tokens // lengths[place])
        batches[-1].append(place)
    return batches


def _read(
    sample: Sample, model: LlavaForConditionalGeneration, processor: Any, decoded: dict[bytes | Path | None, Tensor]
) -> _Row:
    """Read a row; of equal images in `decoded`, all rows have the same tensor."""
    tokenizer, images = processor.tokenizer, processor.image_processor
    ids, num_cut = encode_prompt(sample, tokenizer, model.config.image_seq_length, tokenizer.model_max_length)
    keys = [image.data or image.path for image in sample.images]
    for key, image in zip(keys, sample.images, strict=True):
        if key not in decoded:
            decoded[key] = decode(image, images.size["height"], images.resample)
    return _Row(replace(sample, images=()), ids, [decoded[key] for key in keys], num_cut > 0)


def _answer(
    rows: Sequence[_Row], model: LlavaForConditionalGeneration, processor: Any, max_new_tokens: int
) -> list[Answer]:
    tokenizer = processor.tokenizer
    shown = [image for row in rows for image in row.pixels]
    distinct = {id(image): image for image in shown}
    number_of = {key: number for number, key in enumerate(distinct)}
    batch = collate([row.ids for row in rows], list(distinct.values()), pad_id=tokenizer.pad_token_id, side="left")
    numbers = [number_of[id(image)] for image in shown]
    written, log_probs = _decode(batch.to(model.device), numbers, model, processor, max_new_tokens)
    answers = []
    for row, ids, probability in zip(rows, written.tolist(), log_probs.exp().tolist(), strict=True):
        is_ended = tokenizer.eos_token_id in ids
        ids = ids[: ids.index(tokenizer.eos_token_id)] if is_ended else ids
        text = read_answer(tokenizer.decode(ids, skip_special_tokens=True), row.sample)
        answers.append(Answer(text, len(ids), END if is_ended else LENGTH, row.is_cut, probability))
    return answers


@torch.inference_mode()
def _decode(
    batch: Batch, shown: Sequence[int], model: LlavaForConditionalGeneration, processor: Any, max_new_tokens: int
) -> tuple[Tensor, Tensor]:
    """Return the most likely tokens, (B, max_new_tokens), and the sum of their log-probabilities, (B,).

    `shown` are the numbers of the rows' images in the pixels of the batch, which holds each image once.
    """
    end, pad = processor.tokenizer.eos_token_id, processor.tokenizer.pad_token_id
    inputs: dict[str, Any] = batch.inputs(processor.image_processor)
    if shown:
        encoded = model.get_image_features(pixel_values=inputs.pop("pixel_values"), return_dict=True)
        encoded.pooler_output = [encoded.pooler_output[number] for number in shown]
        inputs["mm_encoder_outputs"] = {"image": encoded}
    mask = inputs["attention_mask"]  # of padding on the left
    positions = (mask.cumsum(1) - 1).clamp_min(0)
    written = torch.full((len(mask), max_new_tokens), pad, device=mask.device)
    log_probs = torch.zeros(len(mask), device=mask.device)
    going = torch.arange(len(mask), device=mask.device)  # rows whose answer has not ended
    cache = DynamicCache(config=model.config)
    inputs["position_ids"] = positions
    for step in range(max_new_tokens):
        logits = model(**inputs, past_key_values=cache, use_cache=True, logits_to_keep=1).logits[:, -1].float()
        tokens = logits.argmax(-1)
        written[going, step] = tokens
        log_probs[going] += logits.gather(1, tokens[:, None])[:, 0] - logits.logsumexp(-1)
        kept = (tokens != end).nonzero()[:, 0]
        if not len(kept):
            break
        if len(kept) < len(going):
            cache.batch_select_indices(kept)
            going, tokens, mask, positions = going[kept], tokens[kept], mask[kept], positions[kept]
        mask = torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1)
        positions = positions[:, -1:] + 1
        inputs = {"input_ids": tokens[:, None], "attention_mask": mask, "position_ids": positions}
    return written, log_probs
