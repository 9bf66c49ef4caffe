"""Log-probabilities of given answers, as the training formats them: the options of a question, yes and no, class names.

The answers to one prompt form one row, with their common beginning only once:

    ids       <s> <image>* ... Answer:   A. lung </s>   B. heart </s>
    owner     -1  -1       ... -1        0  0 0   0     1  1 1    1

A token attends to the beginning and to the earlier tokens of its own answer, at their positions in a row of that answer
alone. The log-probabilities equal those of a separate forward pass for each answer, but the prompt with its images is
computed once. An answer includes its end, `</s>`, so that "2" and "2 cm" are both whole answers.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from openmedq.evaluation.generate import divide
from openmedq.evaluation.metrics.answers import normalize_answer
from openmedq.evaluation.metrics.calibration import YES_NO
from openmedq.model.model import load
from openmedq.model.pixels import decode, normalize
from openmedq.model.prompt import IGNORED, Encoded, encode
from openmedq.schema import Sample
from openmedq.storage.progress import progress
from openmedq.training.devices import Devices

SPELLINGS = ("yes", "Yes", "no", "No")  # of YES_NO, as datasets publish them; a model learns both
CHUNK_TOKENS = 2048  # whose logits are in memory together
WINDOW_ROWS = 1024  # consecutive rows that are sorted by length together: their tokens are in memory

_SHARED, _PADDING = -1, -2


class Candidates(NamedTuple):
    """The answers to one prompt in one row of T tokens, of which L belong to answers."""

    ids: Tensor  # (T,) int64
    owner: Tensor  # (T,) int64: the number of the answer; _SHARED for the common beginning
    positions: Tensor  # (T,) int64
    places: Tensor  # (L,) int64: the tokens of the answers
    previous: Tensor  # (L,) int64: the places of the tokens before them
    num_tokens: list[int]  # of each answer


class Likelihood(NamedTuple):
    """Log-probability of each answer to one prompt, and its number of tokens."""

    log_probs: list[float]
    num_tokens: list[int]


def lay_out(answers: Sequence[Encoded]) -> Candidates:
    """Lay out conversations that differ in their last answer; only that answer counts."""
    ids = [each.ids.numpy() for each in answers]  # torch would start its threads for each of these short arrays
    starts = [int(np.flatnonzero(each.labels.numpy() == IGNORED)[-1]) + 1 for each in answers]
    stacked = np.stack([each[: min(starts)] for each in ids])
    num_shared = int((stacked == stacked[0]).all(axis=0).cumprod().sum())
    rests = [each[num_shared:] for each in ids]
    places, previous = [], []
    end = num_shared
    for rest, start in zip(rests, starts, strict=True):
        own = np.arange(end + start - num_shared, end + len(rest))
        places.append(own)
        previous.append(np.where(own == end, num_shared, own) - 1)
        end += len(rest)
    owner = np.repeat(np.arange(_SHARED, len(rests)), [num_shared, *map(len, rests)])
    positions = np.concatenate([np.arange(num_shared), *(num_shared + np.arange(len(rest)) for rest in rests)])
    return Candidates(
        ids=torch.from_numpy(np.concatenate([ids[0][:num_shared], *rests])),
        owner=torch.from_numpy(owner),
        positions=torch.from_numpy(positions),
        places=torch.from_numpy(np.concatenate(places)),
        previous=torch.from_numpy(np.concatenate(previous)),
        num_tokens=[len(own) for own in places],
    )


class Scorer:
    """A saved model, and its log-probabilities of answers."""

    def __init__(self, folder: Path, device: torch.device, batch_size: int) -> None:
        """Load the model; ModelError if the folder has none.

        `batch_size` is the number of rows of maximum length in a forward pass; shorter rows form larger batches.
        """
        self.device, self._batch_size = device, batch_size
        self.model: Any
        self.model, self.processor = load(folder, device)

    def read_images(self, samples: Sequence[Sample]) -> Tensor:
        """Return the images of all samples in order, (N, 3, S, S) uint8."""
        images = self.processor.image_processor
        pixels = [
            decode(image, images.size["height"], images.resample) for sample in samples for image in sample.images
        ]
        return torch.stack(pixels) if pixels else torch.zeros(0, 3, 0, 0, dtype=torch.uint8)

    @property
    def max_batch_tokens(self) -> int:
        """Tokens of a forward pass, padding included."""
        return int(self._batch_size * self.processor.tokenizer.model_max_length)

    def encode(self, sample: Sample, answers: Sequence[str]) -> Candidates:
        """Encode answers to the last question of a sample; ModelError if its images alone exceed the length."""
        tokenizer = self.processor.tokenizer
        slots, length = self.model.config.image_seq_length, tokenizer.model_max_length
        *before, turn = sample.turns
        conversations = [replace(sample, turns=(*before, replace(turn, answer=answer))) for answer in answers]
        return lay_out([encode(each, tokenizer, slots, length) for each in conversations])

    @torch.inference_mode()
    def score(self, rows: Sequence[Candidates], pixels: Tensor) -> list[Likelihood]:
        """Return the log-probabilities of the answers of rows, in one forward pass.

        Args:
            rows: padded on the right.
            pixels: (N, 3, S, S) uint8, the images of all rows in order.
        """
        model, images = self.model, self.processor.image_processor
        ids, owner, positions = (
            pad_sequence([getattr(row, name) for row in rows], batch_first=True, padding_value=value).to(self.device)
            for name, value in (("ids", 0), ("owner", _PADDING), ("positions", 0))
        )
        shown = {}
        if len(pixels):
            shown["pixel_values"] = normalize(pixels.to(self.device), images.image_mean, images.image_std)
        mask = _mask(owner, model.dtype)
        states = model.model(
            input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=False, **shown
        ).last_hidden_state.flatten(0, 1)
        places, previous = (
            torch.cat([getattr(row, name) + number * ids.shape[1] for number, row in enumerate(rows)]).to(self.device)
            for name in ("places", "previous")
        )
        losses = [
            functional.cross_entropy(model.lm_head(states[before]).float(), ids.flatten()[own], reduction="none")
            for before, own in zip(torch.split(previous, CHUNK_TOKENS), torch.split(places, CHUNK_TOKENS), strict=True)
        ]
        sizes = [num for row in rows for num in row.num_tokens]
        sums = iter([-float(own.sum()) for own in torch.split(torch.cat(losses).double().cpu(), sizes)])
        return [Likelihood([next(sums) for _ in row.num_tokens], row.num_tokens) for row in rows]


def _mask(owner: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the attention mask to add, (B, 1, T, T): 0 where a token attends to another, else the smallest number.

    Padding attends to itself, because the softmax of an empty row is not a number.
    """
    seen, sees = owner[:, None], owner[..., None]
    is_seen = torch.ones_like(owner[0]).expand(owner.shape[1], -1).tril().bool() & ((seen == _SHARED) | (seen == sees))
    return torch.zeros(is_seen.shape, dtype=dtype, device=owner.device).masked_fill(~is_seen, torch.finfo(dtype).min)[
        :, None
    ]


def list_answers(sample: Sample) -> tuple[str, ...]:
    """Return the answers whose probability is measured: the options, or SPELLINGS of a yes/no question without any."""
    turn = sample.turns[-1]
    return turn.options or (SPELLINGS if normalize_answer(turn.answer) in YES_NO else ())


def measure(
    scorer: Scorer, texts: Sequence[Sample], read: Callable[[int], Sample], own: Devices
) -> list[dict[str, Any]]:
    """Return columns of predictions.parquet for each row of `texts`; each device computes some of the rows.

    `read` returns a row with the bytes of its images, by its number. `option_log_probs` and `option_num_tokens` are
    of a row with options; `yes_no_log_probs`, sums over both spellings, of a yes/no question without options.
    """
    given = [(number, sample) for number, sample in enumerate(texts) if list_answers(sample)]
    mine = given[own.rank :: own.num]
    found: dict[int, Likelihood] = {}
    with progress("likelihood of options", len(mine)) as advance:
        for start in range(0, len(mine), WINDOW_ROWS):
            window = mine[start : start + WINDOW_ROWS]
            encoded = [scorer.encode(sample, list_answers(sample)) for _, sample in window]
            for places in divide([len(row.ids) for row in encoded], scorer.max_batch_tokens):
                numbers = [window[place][0] for place in places]
                pixels = scorer.read_images([*map(read, numbers)])
                found |= zip(numbers, scorer.score([encoded[place] for place in places], pixels), strict=True)
                advance(len(places))
    everything = {number: each for part in own.collect(found) for number, each in part.items()}
    columns = {number: _describe(sample, everything[number]) for number, sample in given}
    return [columns.get(number, {}) for number in range(len(texts))]


def _describe(sample: Sample, found: Likelihood) -> dict[str, Any]:
    if sample.turns[-1].options:
        return {"option_log_probs": found.log_probs, "option_num_tokens": found.num_tokens}
    half = len(SPELLINGS) // 2
    return {
        "yes_no_log_probs": [
            float(np.logaddexp.reduce(part)) for part in (found.log_probs[:half], found.log_probs[half:])
        ]
    }
