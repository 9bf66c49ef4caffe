"""Find the option that a generated answer to a multiple-choice question gives: by letter, by text, or by both."""

from __future__ import annotations

import re
import string

from openmedq.evaluation.metrics.answers import match_key
from openmedq.schema import Sample, Task

_LEAD = re.compile(
    r"[\s*]*(?:the\s+|my\s+)?(?:(?:correct|right|best|final)\s+)*(?:answer|option|choice)\b[\s:=*]*(?:is\b[\s:=*]*)?"
    r"(?:(?:option|choice)\b\s*)?",
    re.IGNORECASE,
)
_LETTERED = re.compile(r"[^\w\s]*([A-Za-z])(?P<end>[\])*:.\"']+(?=\s|$)|[\]):]+|\s*$|\s*\n|\s+[-\u2013]\s| )")


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
    is_word = found["end"] == " " and rest != match_key(options[number])  # such as an article
    starts = (f"{option} " for option in by_text if option[1:2] == " ")  # as in "E. coli, probably"
    if is_word or f"{match_key(bare)} ".startswith(tuple(starts)):
        return text
    return by_text.get(rest, options[number])
