"""Questions and answers from the columns of a table."""

import json
import string
from collections.abc import Mapping
from typing import Any

from openmedq.config import Columns
from openmedq.datasets.fields import Record, Unusable, take_optional_text, take_text
from openmedq.errors import numbered
from openmedq.schema import Reason, Task, Turn

_WITH_QUESTION = (Task.VQA, Task.MULTIPLE_CHOICE, Task.TEXT_QA)


def take_turns(record: Record, columns: Columns, task: Task) -> tuple[Task, tuple[Turn, ...]]:
    """The task of a row, and its question and answer as one turn."""
    if columns.task:
        name = take_text(record, columns.task)
        if name not in set(Task):
            raise Unusable(Reason.FIELD_MISSING, f"field `{columns.task}` is not one of {', '.join(Task)}")
        task = Task(name)
    question = ""
    if columns.question:
        question = take_optional_text(record, columns.question)
    if task in _WITH_QUESTION and not question:
        raise Unusable(Reason.QUESTION_EMPTY, f"field `{columns.question or 'question'}` is empty")
    answer_column = columns.answer or "answer"
    answer = take_text(record, answer_column, empty=Reason.ANSWER_EMPTY, is_number_allowed=True)
    by_letter = _take_options(record, columns.options) if columns.options else {}
    options = tuple(filter(None, by_letter.values()))
    if options or task is Task.MULTIPLE_CHOICE:
        answer = _match(answer, options, by_letter, answer_column)
    context = take_optional_text(record, columns.context) if columns.context else ""
    if task is Task.CLASSIFICATION:
        question = ""
    return task, (Turn(question, answer, context, options),)


def _take_options(record: Record, column: str) -> dict[str, str]:
    """The options of a row by letter, an empty one too; {} if the field is empty.

    The field is an object by letter, a list, a JSON list as text, or a text with | between the options.
    """
    value: Any = record.get(column)
    if isinstance(value, str):
        text = value.strip()
        try:
            value = json.loads(text) if text.startswith("[") else text.split("|") if text else []
        except (ValueError, RecursionError):
            raise Unusable(Reason.FIELD_MISSING, f"field `{column}` is not a JSON list") from None
    if isinstance(value, list):
        value = dict(zip([*string.ascii_uppercase, *map(str, range(26, len(value)))], value, strict=False))
    if not value:
        return {}
    if not isinstance(value, dict) or not all(isinstance(each, str | int | float | None) for each in value.values()):
        raise Unusable(Reason.FIELD_MISSING, f"field `{column}` is not a list of texts")
    return {letter.upper(): take_optional_text(value, letter) for letter in value}


def _match(answer: str, options: tuple[str, ...], by_letter: Mapping[str, str], column: str) -> str:
    """The option that the answer names, by its text or its letter."""
    found = answer if answer in options else by_letter.get(answer.upper()) if len(answer) == 1 else None
    if not found:
        raise Unusable(
            Reason.ANSWER_NOT_AN_OPTION, f"field `{column}` is none of the {numbered(len(options), 'option')}"
        )
    return found
