r"""Convert a sample to a conversation, and the conversation to tokens.

The chat template, which is saved with the model, renders every turn as:

    <s><image>\n                 once per image, before the first turn; P slots each
    Context: {context}\n         if the record has a text with its question
    {request}                    see below
    \nAnswer: {answer}</s>       the only tokens with labels: the answer and the end

| task            | request                                                                 | answer           |
|-----------------|-------------------------------------------------------------------------|------------------|
| vqa             | `Question: {question}`, open and closed alike                           | as published     |
| multiple_choice | `Question: {question}\nOptions:\nA. {option}\nB. {option}` ...          | `B. {option}`    |
| text_qa         | `Question: {question}`, then `\nOptions: yes, no, maybe` if it has any  | as published     |
| caption         | `Describe the picture.`                                                 | the caption      |
| report          | `Write the report.`, or `Write this section of the report: {question}`  | the section      |
| classification  | `Name what the picture shows.`, then `\nOptions: a, b` if it has any    | the class        |

A vqa or caption sample with options, or a caption with a question, uses the wording of the other rows.

The prompt contains nothing that reveals the answer: attributes, labels, alternatives, groups and ids are not read.
Special tokens in a text (`<image>`, `</s>`) are split by a space, so that texts can't add image slots.

A sample longer than `max_tokens` is cut in this order, and the cut tokens are counted: first the beginning of the
contexts (an abstract ends with its results), then the earliest turns, then the longest texts of the last turn, all to
the same length (a question loses its beginning; options and the answer lose their end, a cut answer also its `</s>`).
Image slots are never cut.
"""

from __future__ import annotations

import string
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain, count
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor

from openmedq.errors import ModelError
from openmedq.schema import Sample, Task, Turn

if TYPE_CHECKING:
    from transformers import BatchEncoding, PreTrainedTokenizerBase

Message = dict[str, Any]  # role and content parts, as in Hugging Face's chat templates

IMAGE_TOKEN = "<image>"
IGNORED = -100  # the label of tokens without a loss

CHAT_TEMPLATE = (
    "{{ bos_token }}"
    "{% for message in messages %}"
    "{% if message['role'] == 'user' %}"
    "{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}{{ '<image>\n' }}{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}"
    "{{ '\nAnswer:' }}"
    "{% else %}"
    "{{ ' ' }}"
    "{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}{{ message['content'][0]['text'] }}{% endif %}"
    "{{ eos_token }}"
    "{% endif %}"
    "{% endfor %}"
)


class Encoded(NamedTuple):
    """A sample as tokens."""

    ids: Tensor  # (T,) int64
    labels: Tensor  # (T,) int64: the id, or IGNORED
    num_cut: int  # tokens that were cut


def encode(sample: Sample, tokenizer: PreTrainedTokenizerBase, num_patches: int, max_tokens: int) -> Encoded:
    """Encode prompt and answers, (T,) with T <= max_tokens; only the answers and their ends have labels.

    Raises:
        ModelError: the image slots and the shortest texts exceed `max_tokens`.
    """
    fit = _fit(sample, tokenizer, num_patches, max_tokens, with_answer=True)
    messages, ids = fit.messages, list(fit.tokens.ids)
    labels = [IGNORED] * len(ids)
    for number in range(1, len(messages), 2):
        start = bisect_right(fit.tokens.ends, len(_render(messages[:number], tokenizer)))
        is_last = number + 1 == len(messages)
        end = len(ids) if is_last else bisect_right(fit.tokens.ends, len(_render(messages[: number + 1], tokenizer)))
        labels[start:end] = ids[start:end]
    if fit.is_answer_cut:  # the model must not learn to stop at the cut
        del ids[-1], labels[-1]
    return Encoded(_to_tensor(ids), _to_tensor(labels), fit.num_cut)


def encode_prompt(
    sample: Sample, tokenizer: PreTrainedTokenizerBase, num_patches: int, max_tokens: int
) -> tuple[Tensor, int]:
    """Encode everything before the last answer, (T,) with T <= max_tokens, for generation; and count the cut tokens."""
    fit = _fit(sample, tokenizer, num_patches, max_tokens, with_answer=False)
    return _to_tensor(fit.tokens.ids), fit.num_cut


def converse(
    sample: Sample, turns: Sequence[Turn], tokenizer: PreTrainedTokenizerBase, *, with_answer: bool
) -> list[Message]:
    """Return the conversation as messages for the chat template, with or without the last answer."""
    special = [token for token in tokenizer.all_special_tokens if token]
    messages: list[Message] = []
    for turn in turns:
        slots = [{"type": "image"} for _ in sample.images] if not messages else []
        text = {"type": "text", "text": _split_special(request(sample.task, turn), special)}
        answer = {"type": "text", "text": _split_special(respond(sample.task, turn), special)}
        messages.append({"role": "user", "content": [*slots, text]})
        messages.append({"role": "assistant", "content": [answer]})
    return messages if with_answer else messages[:-1]


def request(task: Task, turn: Turn) -> str:
    """Return the wording of the request: the table above."""
    lines = [f"Context: {turn.context.strip()}"] if turn.context.strip() else []
    question = turn.question.strip()
    if task is Task.REPORT:
        lines.append(f"Write this section of the report: {question}" if question else "Write the report.")
    elif question:
        lines.append(f"Question: {question}")
    elif task is Task.CLASSIFICATION:
        lines.append("Name what the picture shows.")
    else:
        lines.append("Describe the picture.")
    if turn.options and task is Task.MULTIPLE_CHOICE:
        lines += ["Options:", *_letter(turn.options)]
    elif turn.options:
        lines.append(f"Options: {', '.join(option.strip() for option in turn.options)}")
    return "\n".join(lines)


def respond(task: Task, turn: Turn) -> str:
    """Return the wording of the answer: the table above."""
    if task is Task.MULTIPLE_CHOICE and turn.answer in turn.options:
        return _letter(turn.options)[turn.options.index(turn.answer)]
    return turn.answer.strip()


def _letter(options: Sequence[str]) -> list[str]:
    letters = chain(string.ascii_uppercase, map(str, count(27)))
    return [f"{letter}. {option.strip()}" for letter, option in zip(letters, options, strict=False)]


def _split_special(text: str, special: Sequence[str]) -> str:
    for token in special:
        text = text.replace(token, " ".join((token[:1], token[1:])))
    return text


class _Tokens(NamedTuple):
    """Tokens of a conversation."""

    ids: list[int]
    ends: list[int]  # in characters of the rendered conversation, ascending; those of an image's slots are equal


def _to_tensor(ids: list[int]) -> Tensor:
    return torch.from_numpy(np.array(ids, np.int64))  # in a fifth of the time of `torch.tensor`


def _render(messages: Sequence[Message], tokenizer: PreTrainedTokenizerBase) -> str:
    return cast(str, tokenizer.apply_chat_template(list(messages), tokenize=False))


def _tokenize(messages: Sequence[Message], tokenizer: PreTrainedTokenizerBase, num_patches: int) -> _Tokens:
    """Render and tokenize the conversation; each image token is repeated for its P slots."""
    encoded = _encode(_render(messages, tokenizer), tokenizer)
    slot = tokenizer.convert_tokens_to_ids(IMAGE_TOKEN)
    tokens = _Tokens(encoded["input_ids"], [end for _, end in encoded["offset_mapping"]])
    for place in reversed([place for place, token in enumerate(tokens.ids) if token == slot]):
        for each in tokens:
            each[place : place + 1] = each[place : place + 1] * num_patches
    return tokens


# Cutting --------------------------------------------------------------------------------------------------------------


class _Fit(NamedTuple):
    messages: list[Message]
    tokens: _Tokens
    num_cut: int
    is_answer_cut: bool


def _fit(
    sample: Sample, tokenizer: PreTrainedTokenizerBase, num_patches: int, max_tokens: int, *, with_answer: bool
) -> _Fit:
    """Cut the conversation to `max_tokens`, in the order of the module's docstring."""
    turns = list(sample.turns)

    def render() -> tuple[list[Message], _Tokens]:
        messages = converse(sample, turns, tokenizer, with_answer=with_answer)
        return messages, _tokenize(messages, tokenizer, num_patches)

    messages, tokens = render()
    num_tokens = len(tokens.ids)
    for number, turn in enumerate(turns):
        context = turn.context
        while len(tokens.ids) > max_tokens and context:
            context = _keep_end(context, max_tokens - len(tokens.ids), tokenizer)
            turns[number] = replace(turn, context=context)
            messages, tokens = render()
    while len(tokens.ids) > max_tokens and len(turns) > 1:
        del turns[0]
        messages, tokens = render()
    turn, limit = turns[0], max_tokens
    while len(tokens.ids) > max_tokens and limit > 1:
        limit = min(limit - 1, int(limit * 0.9))
        turns[0] = _cap(turn, limit, tokenizer)
        messages, tokens = render()
    if len(tokens.ids) > max_tokens:
        raise ModelError(
            f"train.max_tokens: {max_tokens} is too small for {sample.id}: {len(sample.images)} x {num_patches} "
            f"image slots and the shortest texts need {len(tokens.ids)}; set it to at least that"
        )
    is_answer_cut = with_answer and turns[-1].answer != sample.turns[-1].answer
    return _Fit(messages, tokens, num_tokens - len(tokens.ids), is_answer_cut)


def _cap(turn: Turn, limit: int, tokenizer: PreTrainedTokenizerBase) -> Turn:
    """Limit each text of the turn to `limit` tokens; the answer stays one of the options.

    Options that begin alike may be cut to equal texts: they end with spaces, which are not rendered, as many as the
    option's number, so that the answer keeps its letter.
    """
    cut = [_keep_start(option, limit, tokenizer) for option in turn.options]
    options = tuple(
        text if text == option else text + number * " "
        for number, (text, option) in enumerate(zip(cut, turn.options, strict=True), start=1)
    )
    if turn.answer in turn.options:
        answer = options[turn.options.index(turn.answer)]
    else:
        answer = _keep_start(turn.answer, limit, tokenizer)
    return replace(turn, question=_keep_end(turn.question, limit, tokenizer), options=options, answer=answer)


def _keep_end(text: str, num_tokens: int, tokenizer: PreTrainedTokenizerBase) -> str:
    """Keep the last `num_tokens` tokens of a text, or drop `-num_tokens` from its start; whole characters only."""
    offsets = _find_offsets(text, tokenizer)
    start = len(offsets) - num_tokens if num_tokens >= 0 else -num_tokens
    if start <= 0:
        return text
    while start < len(offsets) and offsets[start][0] < offsets[start - 1][1]:  # one character in several tokens
        start += 1
    return text[offsets[start][0] :].lstrip() if start < len(offsets) else ""


def _keep_start(text: str, num_tokens: int, tokenizer: PreTrainedTokenizerBase) -> str:
    """Keep the first `num_tokens` tokens of a text; whole characters only."""
    offsets = _find_offsets(text, tokenizer)
    end = num_tokens
    if end >= len(offsets):
        return text
    while end > 0 and offsets[end][0] < offsets[end - 1][1]:
        end -= 1
    return text[: offsets[end - 1][1]].rstrip() if end > 0 else ""


def _find_offsets(text: str, tokenizer: PreTrainedTokenizerBase) -> list[tuple[int, int]]:
    """Return the start and end character of each token."""
    offsets: list[tuple[int, int]] = _encode(text, tokenizer)["offset_mapping"]
    return offsets


def _encode(text: str, tokenizer: PreTrainedTokenizerBase) -> BatchEncoding:
    return tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
