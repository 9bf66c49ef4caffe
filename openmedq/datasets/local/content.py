"""Questions and answers from the columns of a table."""

import json
import string
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
    options = _take_options(record, columns.options) if columns.options else ()
    if options or task is Task.MULTIPLE_CHOICE:
        answer = _match(answer, options, answer_column)
    context = take_optional_text(record, columns.context) if columns.context else ""
    if task is Task.CLASSIFICATION:
        question = ""
    return task, (Turn(question, answer, context, options),)


def _take_options(record: Record, column: str) -> tuple[str, ...]:
    """The options of a row: a list, a JSON list as text, or a text with | between them; () if the field is empty."""
    value: Any = record.get(column)
    if isinstance(value, str):
        text = value.strip()
        try:
            value = json.loads(text) if text.startswith("[") else text.split("|") if text else []
        except (ValueError, RecursionError):
            raise Unusable(Reason.FIELD_MISSING, f"field `{column}` is not a JSON list") from None
    if isinstance(value, dict):  # {"A": ..., "B": ...}
        value = list(value.values())
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(each, str | int | float) for each in value):
        raise Unusable(Reason.FIELD_MISSING, f"field `{column}` is not a list of texts")
    texts = [take_optional_text({column: each}, column) for each in value]
    return tuple(filter(None, texts))


def _match(answer: str, options: tuple[str, ...], column: str) -> str:
    """The option that the answer names, by its text or its letter."""
    if answer in options:
        return answer
    place = string.ascii_uppercase.find(answer.upper()) if len(answer) == 1 else -1
    if 0 <= place < len(options):
        return options[place]
    raise Unusable(Reason.ANSWER_NOT_AN_OPTION, f"field `{column}` is none of the {numbered(len(options), 'option')}")
