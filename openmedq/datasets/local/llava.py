"""Read and write LLaVA's JSON: a list of records with `conversations` and `image` (a path, a list of paths, or absent).

Source: https://github.com/haotian-liu/LLaVA/blob/main/docs/Finetune_Custom_Data.md

`images` is read like `image`. A conversation alternates between `human` and `gpt`; `<image>` in the first human text is
the place of an image.
"""

import string

from openmedq.datasets.fields import Record, Unusable, take_text
from openmedq.errors import numbered
from openmedq.schema import Reason, Sample, Task, Turn

SLOT = "<image>"
_SPLIT = "< image>"
_REQUESTS = {
    Task.CAPTION: "Describe the image.",
    Task.REPORT: "Write the report of the image.",
    Task.CLASSIFICATION: "Name what the image shows.",
}
_ASKING, _ANSWERING = ("human", "user"), ("gpt", "assistant")


def take_turns(record: Record, task: Task, num_images: int) -> tuple[Task, tuple[Turn, ...]]:
    """The task and the turns of a record; `text_qa` if it has no image."""
    messages = record.get("conversations")
    if not isinstance(messages, list) or not all(isinstance(each, dict) for each in messages):
        raise Unusable(Reason.FIELD_MISSING, "field `conversations` is not a list of objects")
    if not messages or len(messages) % 2:
        raise Unusable(
            Reason.FIELD_MISSING, f"{numbered(len(messages), 'message')}; expected pairs of a question and an answer"
        )
    turns = []
    num_slots = 0
    for number, (asking, answering) in enumerate(zip(messages[::2], messages[1::2], strict=True)):
        if asking.get("from") not in _ASKING or answering.get("from") not in _ANSWERING:
            raise Unusable(Reason.FIELD_MISSING, f"turn {number + 1}: expected `from` human, then gpt")
        question = take_text(asking, "value", empty=Reason.QUESTION_EMPTY)
        answer = take_text(answering, "value", empty=Reason.ANSWER_EMPTY)
        if number and SLOT in question:
            raise Unusable(Reason.FIELD_MISSING, f"turn {number + 1}: {SLOT} after the first turn is not supported")
        num_slots += question.count(SLOT)
        question = "\n".join(filter(None, map(str.strip, question.replace(SLOT, "\n").splitlines())))
        if not question and task in (Task.VQA, Task.TEXT_QA, Task.MULTIPLE_CHOICE):
            raise Unusable(Reason.QUESTION_EMPTY, f"turn {number + 1}: no question besides {SLOT}")
        turns.append(Turn(question, answer))
    if num_slots not in (num_images, 0):  # LLaVA puts the image first if no text has a slot
        raise Unusable(
            Reason.IMAGE_MISSING, f"{num_slots} x {SLOT} in the first turn, {numbered(num_images, 'image')} in `image`"
        )
    return (task if num_images else Task.TEXT_QA), tuple(turns)


def to_conversations(sample: Sample) -> list[dict[str, str]]:
    """The messages of a sample; a task without a question gets one. A text's own `<image>` is split by a space."""
    messages = []
    for number, turn in enumerate(sample.turns):
        slots = [SLOT] * len(sample.images) if number == 0 else []
        lines = [*filter(None, (turn.context.strip(), turn.question.strip() or _REQUESTS.get(sample.task, "")))]
        answer = turn.answer.strip()
        if sample.task is Task.MULTIPLE_CHOICE:
            lettered = [f"{letter}. {each}" for letter, each in zip(string.ascii_uppercase, turn.options, strict=False)]
            lines += lettered
            answer = lettered[turn.options.index(turn.answer)] if turn.answer in turn.options else answer
        elif turn.options:
            lines.append(f"Options: {', '.join(turn.options)}")
        question = "\n".join([*slots, *(line.replace(SLOT, _SPLIT) for line in lines)])
        messages.append({"from": "human", "value": question})
        messages.append({"from": "gpt", "value": answer.replace(SLOT, _SPLIT)})
    return messages
