"""The option that is the answer to a multiple-choice question: as generated, or the likeliest one.

A generated answer gives it by letter, by text, or by both.
"""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
import pyarrow as pa

from openmedq.evaluation.metrics.answers import match_key
from openmedq.schema import Sample, Task

_LEAD = re.compile(
    r"[\s*]*(?:the\s+|my\s+)?(?:(?:correct|right|best|final)\s+)*(?:answer|option|choice)\b[\s:=*]*(?:is\b[\s:=*]*)?"
    r"(?:(?:option|choice)\b\s*)?",
    re.IGNORECASE,
)
_LETTERED = re.compile(
    r"(?:[^\w\s]*\\boxed)?[^\w\s]*([A-Za-z])"
    r"(?:[\])*:.\"'`$};>]+(?=\s|$)|[\]):]+|\s*$|\s*\n|\s+[-\u2013]\s|\s+is\s+(?:the\s+)?(?:correct|right|best|answer)\b.*"
    r"|(?P<weak>[ ,.]))",
    re.DOTALL,
)


def read_answer(text: str, sample: Sample) -> str:
    """The option of a multiple-choice question that the text gives; any other text without spaces at its ends.

    "B", "(b)", "B: heart" and "The answer is B." give a letter; "A mass in the lung" and "B-cell lymphoma" do not.
    Where letter and text name two options, the text counts. A text that gives no option is returned as it is.
    """
    text = text.strip()
    if sample.task is not Task.MULTIPLE_CHOICE:
        return text
    options = sample.turns[-1].options
    bare = text[lead.end() :] if (lead := _LEAD.match(text)) else text
    found = _LETTERED.match(bare)
    number = string.ascii_uppercase.index(found[1].upper()) if found else len(options)
    rest = match_key(bare[found.end() :]) if found else ""
    if number < len(options) and not rest:
        return options[number]
    by_text = {match_key(option): option for option in reversed(options)}
    for whole in (text, bare):
        if match_key(whole) in by_text:
            return by_text[match_key(whole)]
    if not found or number >= len(options):
        return text
    is_word = found["weak"] is not None and rest != match_key(options[number])  # such as an article
    starts = (f"{option} " for option in by_text if option[1:2] == " ")  # as in "E. coli, probably"
    if is_word or f"{match_key(bare)} ".startswith(tuple(starts)):
        return text
    return by_text.get(rest, options[number])


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
