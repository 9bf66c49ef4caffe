"""The final answer of a generated text, and the option that it is: as generated, or the likeliest one.

A generated answer gives an option by letter, by text, or by both.
"""

import json
import re
import string
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
import pyarrow as pa

from openmedq.evaluation.metrics.answers import match_key
from openmedq.schema import Sample, Task

_LETTERS = [*string.ascii_uppercase, *map(str, range(27, 1000))]  # those of our prompt
_TAGGED = re.compile(r".*<answer>(.*?)(?:</answer>|$)", re.DOTALL)  # of a reasoning model, after its `</think>`
_FENCE = re.compile(r"```(?:json)?\s*(\{.*\})\s*```", re.DOTALL)
_KEY = re.compile(r"(?:.*[\W_])?(?:answer|choice|option)", re.IGNORECASE)  # of a JSON object
_NARROW = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)}  # \uff22 (B, as wide as a Chinese character) to B
_LEAD = re.compile(
    r"[\s*#]*(?:the\s+|my\s+)?(?:(?:correct|right|best|final)\s+)*(?:answer|option|choice)\b[\s:=*]*(?:is\b[\s:=*]*)?"
    r"(?:(?:option|choice)\b\s*)?",
    re.IGNORECASE,
)
_STATED = re.compile(  # anywhere
    r"(?:\b(?:answer|(?:correct|right|best)\s+(?:option|choice))(?:\s+is\b|\**:)|答案(?:是|为|[:\uff1a])+)"
    r"[\s:=*]*(?:(?:option|choice)\b\s*)?",
    re.IGNORECASE,
)
_LETTERED = re.compile(
    r"(?:[^\w\s]*\\(?:boxed|text))*[^\w\s]*([A-Za-z]|2[7-9]|[3-9]\d|[1-9]\d\d)"  # the 27th option has a number
    r"(?:[\])*:.。\"'`$};>]+(?=\s|$)|[\]):]+|\s*$|\s*\n|\s+[-\u2013]\s|\s+is\s+(?:the\s+)?(?:correct|right|best|answer)\b.*"
    r"|,?\s+(?:because|since)\b.*"
    r"|(?P<weak>[ ,.]))",
    re.DOTALL,
)


def read_answer(text: str, sample: Sample) -> str:
    """The final answer of a text without spaces at its ends; of a question with options, the option that it gives.

    The final answer is what follows `</think>`, and what is in `<answer>`, if the text has these tags, or "answer" of a
    JSON object. "B", "(b)", "B: heart", "I think the answer is B." and "答案是B" give a letter; "A mass in the lung"
    and "B-cell lymphoma" do not. Where letter and text name two options, the text counts. A text that gives no option
    is returned as it is.
    """
    text = text.rpartition("</think>")[2]
    text = _read_object((found[1] if (found := _TAGGED.match(text)) else text).strip())
    if not (options := sample.turns[-1].options):
        return text
    rests = _STATED.split(text)[1:]
    is_lettered = sample.task is Task.MULTIPLE_CHOICE  # in our prompt: there, a letter counts before any text
    stated = {_choose(rest, rest, options, is_lettered) for rest in rests}
    if len(stated) == 1 and (option := stated.pop()):
        return option
    bare = text[lead.end() :] if (lead := _LEAD.match(text)) else text
    return _choose(text, bare, options, is_lettered) or text


def _read_object(text: str) -> str:
    """The answer of a JSON object; any other text as it is."""
    try:
        found = json.loads(fenced[1] if (fenced := _FENCE.fullmatch(text)) else text)
    except (ValueError, RecursionError):
        return text
    answers = [found[key] for key in found if _KEY.fullmatch(key)] if isinstance(found, dict) else []
    return answers[0].strip() if len(answers) == 1 and isinstance(answers[0], str) else text


def _choose(text: str, bare: str, options: Sequence[str], is_lettered: bool) -> str | None:
    """The option that a text gives, whose beginning is not in `bare` if it only leads to the answer."""
    found = _LETTERED.match(bare.translate(_NARROW))
    number = _LETTERS.index(found[1].upper()) if found else len(options)
    rest = match_key(bare[found.end() :]) if found else ""
    if number < len(options) and not rest:
        return options[number]
    by_text = {match_key(option): option for option in reversed(options)}
    for whole in (text, bare):
        if match_key(whole) in by_text:
            return by_text[match_key(whole)]
    if not found or number >= len(options):
        return None
    is_word = found["weak"] is not None and rest != match_key(options[number])  # such as an article
    starts = (f"{option} " for option in by_text if option[1:2] == " ")  # as in "E. coli, probably"
    if is_word or f"{match_key(bare)} ".startswith(tuple(starts)):
        return None
    return by_text.get(rest, options[number] if is_lettered else None)


def _take_generated(rows: pa.Table) -> list[str | None]:
    """The answers to questions with options."""
    pairs = zip(rows["answer"].to_pylist(), rows["options"].to_pylist(), strict=True)
    return [answer if options else None for answer, options in pairs]


def _take_likeliest(rows: pa.Table, *, per_token: bool) -> list[str | None]:
    """The option with the greatest log-probability, the first one of equals."""
    columns = (rows[name].to_pylist() for name in ("options", "option_log_probs", "option_num_tokens"))
    chosen: list[str | None] = []
    for options, log_probs, num_tokens in zip(*columns, strict=True):
        if log_probs:
            values = np.divide(log_probs, num_tokens if per_token else 1)
            chosen.append(options[int(values.argmax())])
        else:
            chosen.append(None)
    return chosen


# What a metric may score beside the columns of predictions.parquet: a text of each row, None for other questions.
CHOICES: Mapping[str, Callable[[pa.Table], list[str | None]]] = {
    "choice": _take_generated,
    "likeliest_choice": partial(_take_likeliest, per_token=False),
    "likeliest_choice_per_token": partial(_take_likeliest, per_token=True),
}
