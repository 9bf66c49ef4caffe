"""Answer questions with a saved model, by greedy decoding."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from transformers import GenerationConfig

from openmedq.evaluation.metrics.choices import read_answer
from openmedq.model.batch import collate
from openmedq.model.model import load, pick_device
from openmedq.model.pixels import decode
from openmedq.model.prompt import encode_prompt
from openmedq.schema import Sample

Answerer = Callable[[Sequence[Sample]], Iterator[str]]


def load_answerer(folder: Path, *, device: torch.device | str, max_new_tokens: int, batch_size: int) -> Answerer:
    """Load a model and return a function that yields the answer to the last question of each sample, in order.

    Raises:
        ModelError: the folder holds no model, or the device is not available.
    """
    model, processor = load(folder, pick_device(device) if isinstance(device, str) else device)
    tokenizer, image_processor = processor.tokenizer, processor.image_processor
    side_px, resample = image_processor.size["height"], image_processor.resample
    greedy = GenerationConfig(
        max_new_tokens=max_new_tokens,
        do_sample=False,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )

    @torch.inference_mode()
    def answer_batch(samples: Sequence[Sample]) -> list[str]:
        slots, length = model.config.image_seq_length, tokenizer.model_max_length
        ids = [encode_prompt(sample, tokenizer, slots, length) for sample in samples]
        pixels = [decode(image, side_px, resample) for sample in samples for image in sample.images]
        batch = collate(ids, pixels, pad_id=tokenizer.pad_token_id, side="left").to(model.device)
        written = model.generate(**batch.inputs(image_processor), generation_config=greedy)[:, batch.ids.shape[1] :]
        texts = tokenizer.batch_decode(written, skip_special_tokens=True)
        return [read_answer(text, sample) for text, sample in zip(texts, samples, strict=True)]

    def answer(samples: Sequence[Sample]) -> Iterator[str]:
        for start in range(0, len(samples), batch_size):
            yield from answer_batch(samples[start : start + batch_size])

    return answer
