"""The expectations on rows, as SQL: for each statement the condition that a row fails it. Null: it does not apply.

A relation has the columns `dataset` and `id`; the conditions refer to its columns.
"""

from collections.abc import Collection

from openmedq.config import Validate
from openmedq.schema import Role, Task

_FOREIGN = r"[\x{0400}-\x{04FF}\x{0600}-\x{06FF}\x{3040}-\x{30FF}\x{3400}-\x{9FFF}\x{AC00}-\x{D7AF}]"

FILE = "try_cast(regexp_extract(shard, '[0-9]+') AS INTEGER)"  # the number of a shard takes less memory than its name

# `samples` are rows of SAMPLE_SCHEMA with `dataset` (the folder), `shard`, `row_group`, `row`, `texts` (normalized, one
# per turn) and `header` (of the first image, where it was read); `cards` are in `make_tables`.
ROWS = f"""
    SELECT
        dataset, id, {FILE} AS file, row_group, row,
        hash(texts, list_sort(labels), list_sort(list_transform(images, lambda image: image.pixels_sha256))) AS content,
        hash(split, task, samples.licence, access, coalesce(len(images), 0)) AS facts,
        list_contains(evaluations, split) AS is_evaluation,
        source, task, samples.licence AS licence, list_contains(splits, split) AS is_on_card,
        cards.licence AS card_licence, header, modes,
        CASE WHEN task <> 'classification'
            THEN coalesce(list_min(list_transform(turns, lambda turn: length(trim(turn.answer)))), 0)
            END AS shortest_answer_chars,
        list_max(list_transform(turns, lambda turn: length(turn.answer))) AS longest_answer_chars,
        CASE WHEN task IN ('vqa', 'multiple_choice', 'text_qa')
            THEN coalesce(list_min(list_transform(turns, lambda turn: length(trim(turn.question)))), 0)
            END AS shortest_question_chars,
        CASE WHEN task IN ('vqa', 'caption', 'report', 'classification') THEN len(images) END AS num_images,
        list_min(list_transform(images, lambda image: least(image.width, image.height))) AS shortest_side_px,
        list_max(list_transform(images, lambda image: greatest(image.width, image.height))) AS longest_side_px,
        low_px, high_px,
        CASE WHEN task = 'multiple_choice'
            THEN len(list_filter(turns, lambda turn: NOT list_contains(turn.options, turn.answer)))
            END AS num_answers_not_offered,
        CASE WHEN task = 'classification' AND len(classes) > 0
            THEN len(list_filter(labels, lambda label: NOT list_contains(classes, label)))
            END AS num_unknown_labels,
        CASE WHEN answers IS NOT NULL
            THEN len(list_filter(turns, lambda turn: NOT list_contains(answers, turn.answer)))
            END AS num_unknown_answers,
        len(list_filter(turns, lambda turn: lower(turn.answer) = 'yes')) AS num_yes,
        len(list_filter(turns, lambda turn: lower(turn.answer) = 'no')) AS num_no,
        strlen(text) <> length(text) AND regexp_matches(text, '{_FOREIGN}') AS is_foreign
    FROM (SELECT *, array_to_string(texts, ' ') AS text FROM samples) AS samples LEFT JOIN cards USING (dataset)
"""

# Statements on shares of a dataset's rows, and the rows to name as examples.
OFTEN_YES = "yes is answered as often as the dataset promises, or more often"
SELDOM_YES = "yes is answered as often as the dataset promises, or less often"
LANGUAGE = "texts are in the language of the dataset"
SHARES = {OFTEN_YES: "num_no > 0", SELDOM_YES: "num_yes > 0", LANGUAGE: "is_foreign"}

# `entries` of the index point at `rows`.
MIX = """
    SELECT
        dataset, entries.id AS id, role, weight, rows.id AS id_at_position, stated, facts, is_evaluation,
        entries.id IN (SELECT id FROM entries GROUP BY id HAVING count(*) > 1) AS is_repeated,
        entries.id IN (SELECT id FROM verdicts) AS has_decision,
        role <> 'evaluation' AND content IN (
            SELECT content FROM entries JOIN rows USING (dataset, file, row_group, row) WHERE role = 'evaluation'
        ) AS repeats_evaluation
    FROM entries LEFT JOIN rows USING (dataset, file, row_group, row)
"""

UNIQUE_IDS = {"ids are unique": "id IN (SELECT id FROM rows GROUP BY id HAVING count(*) > 1)"}


def of_rows(settings: Validate) -> dict[str, str]:
    """Conditions on every row."""
    answer_chars, side_px = settings.max_answer_chars, settings.min_side_px
    return {
        "ids are not null": "id IS NULL",
        "rows are in the folder of their dataset": "source IS DISTINCT FROM dataset",
        "splits are on the cards": "NOT coalesce(is_on_card, false)",
        "tasks are known": _is_not_in("task", [task.value for task in Task]),
        "licences are stated": "coalesce(length(licence), 0) = 0",
        "answers are not empty": "shortest_answer_chars < 1",
        f"answers have at most {answer_chars} characters": f"longest_answer_chars > {answer_chars}",
        "questions are there if the task needs one": "shortest_question_chars < 1",
        "images are there if the task needs one": "num_images < 1",
        f"images have sides of at least {side_px} px": f"shortest_side_px < {side_px}",
        "answers of multiple choice are among the options": "num_answers_not_offered > 0",
        "labels are among the classes": "num_unknown_labels > 0",
    }


def of_promises() -> dict[str, str]:
    """Conditions on the rows of datasets that promise more, see `curate/promises.py`."""
    return {
        "answers are in the dataset's vocabulary": "num_unknown_answers > 0",
        "images have the sizes of the dataset": "shortest_side_px < low_px OR longest_side_px > high_px",
        "images have the modes of the dataset": "NOT list_contains(modes, header.mode)",
        "images have the sizes that are stated": "NOT header.is_size",
        "licences are the card's": "licence <> card_licence",
    }


def of_mix(datasets: Collection[str]) -> dict[str, str]:
    """Conditions on the entries of the index."""
    return {
        "ids are unique": "is_repeated",
        "sources are in the catalogue": _is_not_in("dataset", datasets),
        "roles are known": _is_not_in("role", [role.value for role in Role]),
        "weights are above 0": "NOT (weight > 0 AND isfinite(weight))",
        "entries point at the row of their id": "id_at_position IS DISTINCT FROM id",
        "entries have the split, task, licence, access and number of images of their row": (
            "id = id_at_position AND stated <> facts"
        ),
        "no row of an evaluation split is trained on": "role = 'train' AND is_evaluation",
        "no row with a duplicate decision is in the mix": "has_decision",
        "no training row repeats an evaluation row": "repeats_evaluation",
    }


def _is_not_in(column: str, values: Collection[str]) -> str:
    return f"NOT list_contains([{', '.join(repr(value) for value in values)}], {column})"
