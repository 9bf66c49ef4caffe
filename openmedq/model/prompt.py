r"""The one page that says how a sample becomes a conversation, and the conversation tokens.

Every turn reads, in the words of the chat template that is saved with the model:

    <s><image>\n                 one for each picture, in front of the first turn; P slots each
    Context: {context}\n         where the record gives text along with the question
    {request}                    see below
    \nAnswer: {answer}</s>       what is learned: the answer and the end; nothing else

| task            | request                                                                 | answer           |
|-----------------|-------------------------------------------------------------------------|------------------|
| vqa             | `Question: {question}`, open and closed alike                           | as published     |
| multiple_choice | `Question: {question}\nOptions:\nA. {option}\nB. {option}` ...          | `B. {option}`    |
| text_qa         | `Question: {question}`, then `\nOptions: yes, no, maybe` if it has any  | as published     |
| caption         | `Describe the picture.`                                                 | the caption      |
| report          | `Write the report.`, or `Write this section of the report: {question}`  | the section      |
| classification  | `Name what the picture shows.`, then `\nOptions: a, b` if it has any    | the class        |

A vqa or caption with options, or a caption with a question of its own, is worded as in the other rows.

Nothing that gives the answer away reaches the prompt: neither attributes nor labels, alternatives, groups or ids are
read here. Words of a text that are special tokens (`<image>`, `</s>`) are broken up, so that no text can forge a slot.

A sample that is longer than `max_tokens` is cut in this order, and what was cut is counted: the beginning of the
contexts (an abstract's results stand last), the earliest turns whole, then the longest texts of the last turn, all to
the same length (a question loses its beginning, options and the answer lose their end, and a cut answer its `</s>`).
Image slots are never cut.
"""

from __future__ import annotations

import string
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from openmedq.errors import ModelError
from openmedq.schema import Sample, Task, Turn

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Message = dict[str, Any]  # as Hugging Face's chat templates take it: role, and content in parts

IMAGE_TOKEN = "<image>"
IGNORED = -100  # a label that is not learned

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
    """A sample in tokens."""

    ids: Tensor  # (T,) int64
    labels: Tensor  # (T,) int64: the id where it is learned, IGNORED elsewhere
    num_cut: int  # tokens that had to go


def encode(sample: Sample, tokenizer: PreTrainedTokenizerBase, num_patches: int, max_tokens: int) -> Encoded:
    """Prompt and answers, (T,) with T <= max_tokens; labels hold the answers and their ends alone.

    Raises:
        ModelError: the image slots and the words around them are more than `max_tokens`.
    """
    fitted = _fit(sample, tokenizer, num_patches, max_tokens, with_answer=True)
    messages, ids = fitted.messages, list(fitted.ids)
    labels = [IGNORED] * len(ids)
    for number in range(1, len(messages), 2):
        start = _count_common(ids, _tokenize(messages[:number], tokenizer, num_patches))
        is_last = number + 1 == len(messages)
        end = len(ids) if is_last else len(_tokenize(messages[: number + 1], tokenizer, num_patches))
        labels[start:end] = ids[start:end]
    if fitted.is_answer_cut:  # the end is not where the text ends, and must not be learned
        del ids[-1], labels[-1]
    return Encoded(torch.tensor(ids), torch.tensor(labels), fitted.num_cut)


def encode_prompt(sample: Sample, tokenizer: PreTrainedTokenizerBase, num_patches: int, max_tokens: int) -> Tensor:
    """All but the last answer, (T,) with T <= max_tokens: what generation goes on from."""
    return torch.tensor(_fit(sample, tokenizer, num_patches, max_tokens, with_answer=False).ids)


def converse(
    sample: Sample, turns: Sequence[Turn], tokenizer: PreTrainedTokenizerBase, *, with_answer: bool
) -> list[Message]:
    """The conversation in the form that chat templates take, with or without the last answer."""
    special = [token for token in tokenizer.all_special_tokens if token]
    messages: list[Message] = []
    for turn in turns:
        slots = [{"type": "image"} for _ in sample.images] if not messages else []
        text = {"type": "text", "text": _break_up(request(sample.task, turn), special)}
        answer = {"type": "text", "text": _break_up(respond(sample.task, turn), special)}
        messages.append({"role": "user", "content": [*slots, text]})
        messages.append({"role": "assistant", "content": [answer]})
    return messages if with_answer else messages[:-1]


def request(task: Task, turn: Turn) -> str:
    """What is asked, in words: the table above."""
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
    """What is to be answered, in words: the table above."""
    if task is Task.MULTIPLE_CHOICE and turn.answer in turn.options:
        return _letter(turn.options)[turn.options.index(turn.answer)]
    return turn.answer.strip()


def _letter(options: Sequence[str]) -> list[str]:
    return [f"{letter}. {option.strip()}" for letter, option in zip(string.ascii_uppercase, options, strict=False)]


def _break_up(text: str, special: Sequence[str]) -> str:
    for token in special:
        text = text.replace(token, " ".join((token[:1], token[1:])))
    return text


def _tokenize(messages: Sequence[Message], tokenizer: PreTrainedTokenizerBase, num_patches: int) -> list[int]:
    """The template's text in ids, each picture's token repeated for its P slots."""
    text = tokenizer.apply_chat_template(list(messages), tokenize=False)
    slot = tokenizer.convert_tokens_to_ids(IMAGE_TOKEN)
    ids: list[int] = []
    for token in tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]:
        ids += [token] * num_patches if token == slot else [token]
    return ids


def _count_common(left: Sequence[int], right: Sequence[int]) -> int:
    """How many tokens the two begin with alike."""
    pairs = enumerate(zip(left, right, strict=False))
    return next((place for place, (one, other) in pairs if one != other), min(len(left), len(right)))


# Cutting --------------------------------------------------------------------------------------------------------------


class _Fitted(NamedTuple):
    messages: list[Message]
    ids: list[int]
    num_cut: int  # tokens
    is_answer_cut: bool


def _fit(
    sample: Sample, tokenizer: PreTrainedTokenizerBase, num_patches: int, max_tokens: int, *, with_answer: bool
) -> _Fitted:
    """The conversation, cut to fit: see the module's docstring."""
    turns = list(sample.turns)

    def say() -> tuple[list[Message], list[int]]:
        messages = converse(sample, turns, tokenizer, with_answer=with_answer)
        return messages, _tokenize(messages, tokenizer, num_patches)

    messages, ids = say()
    num_tokens = len(ids)
    for place, turn in enumerate(turns):
        context = turn.context
        while len(ids) > max_tokens and context:
            context = _keep_end(context, max_tokens - len(ids), tokenizer)
            turns[place] = replace(turn, context=context)
            messages, ids = say()
    while len(ids) > max_tokens and len(turns) > 1:
        del turns[0]
        messages, ids = say()
    turn, limit = turns[0], max_tokens
    while len(ids) > max_tokens and limit > 1:
        limit = min(limit - 1, int(limit * 0.9))
        turns[0] = _cap(turn, limit, tokenizer)
        messages, ids = say()
    if len(ids) > max_tokens:
        raise ModelError(
            f"train.max_tokens: {max_tokens} is too few for {sample.id}: {len(sample.images)} x {num_patches} image "
            f"slots and the words around them take {len(ids)}"
        )
    is_answer_cut = with_answer and turns[-1].answer != sample.turns[-1].answer
    return _Fitted(messages, ids, num_tokens - len(ids), is_answer_cut)


def _cap(turn: Turn, limit: int, tokenizer: PreTrainedTokenizerBase) -> Turn:
    """The turn with no text longer than `limit` tokens; the answer stays one of the options."""
    options = tuple(_keep_start(option, limit, tokenizer) for option in turn.options)
    if turn.answer in turn.options:
        answer = options[turn.options.index(turn.answer)]
    else:
        answer = _keep_start(turn.answer, limit, tokenizer)
    return replace(turn, question=_keep_end(turn.question, limit, tokenizer), options=options, answer=answer)


def _keep_end(text: str, num_tokens: int, tokenizer: PreTrainedTokenizerBase) -> str:
    """The last `num_tokens` tokens of a text, whole characters only; a negative number is how many go."""
    places = _locate(text, tokenizer)
    start = len(places) - num_tokens if num_tokens >= 0 else -num_tokens
    if start <= 0:
        return text
    while start < len(places) and places[start][0] < places[start - 1][1]:  # one character in several tokens
        start += 1
    return text[places[start][0] :].lstrip() if start < len(places) else ""


def _keep_start(text: str, num_tokens: int, tokenizer: PreTrainedTokenizerBase) -> str:
    """The first `num_tokens` tokens of a text, whole characters only."""
    places = _locate(text, tokenizer)
    end = num_tokens
    if end >= len(places):
        return text
    while end > 0 and places[end][0] < places[end - 1][1]:
        end -= 1
    return text[: places[end - 1][1]].rstrip() if end > 0 else ""


def _locate(text: str, tokenizer: PreTrainedTokenizerBase) -> list[tuple[int, int]]:
    """Where each token stands in a text."""
    found = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    places: list[tuple[int, int]] = found["offset_mapping"]
    return places
