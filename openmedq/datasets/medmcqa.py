"""MedMCQA: questions of India's entrance exams for postgraduate medical studies, with four options (Pal et al., 2022).

Layout, in any subfolder, as published at https://huggingface.co/datasets/openlifescienceai/medmcqa:
`data/{train,validation,test}-*.parquet` (or converted by the hub, `default/<split>/0000.parquet`), columns id,
question, opa, opb, opc, opd, cop, choice_type, exp, subject_name, topic_name. cop, the correct option, counts from 0;
-1 means withheld. The original JSON lines, in which cop counts from 1, are not read. Files that were converted from
them are refused, because a shifted answer is indistinguishable from a correct one: they have a cop of 4, or hundreds of
rows and no 0.

The answers of the test are withheld for the authors' leaderboard, and each of its rows is rejected. Results are
therefore reported on the validation split.

- Options of a question may be equal, including the correct one. The answer is a text; prompts use the first letter.
- An empty option is dropped.
- The explanation is null or starts with the letter ("Ans. is 'b' i.e., ..."); it is kept as an attribute.
- Words have lost "rt" in a bad conversion ("hyperophy"); they are kept.
"""

from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from openmedq.datasets.card import Access, Card, pinned
from openmedq.datasets.fields import Content, Record, Unusable, keep, take_optional_text, take_text
from openmedq.datasets.readers import list_files, not_found
from openmedq.datasets.readers.hub_shards import find_shards, read_shards
from openmedq.errors import SourceError
from openmedq.schema import Reason, Rejected, Role, Sample, Task, Turn

_HUB = "https://huggingface.co/datasets/openlifescienceai/medmcqa"
SHARD = "data/{}-00000-of-00001.parquet"

card = Card(
    id="medmcqa",
    title="MedMCQA",
    aliases=("openlifescienceai/medmcqa", "medmcqa/medmcqa"),
    homepage=_HUB,
    citation="Pal et al., MedMCQA: A Large-scale Multi-Subject Multi-Choice Dataset for Medical domain Question "
    "Answering, CHIL 2022",
    licence="Apache-2.0",
    access=Access.OPEN,
    task=Task.MULTIPLE_CHOICE,
    modality="text",
    files=pinned(
        f"{_HUB}/resolve/91c6572c454088bf71b679ad90aa8dffcd0d5868",
        {
            SHARD.format("train"): (85_899_025, "b119434ba551517a6ec0ba1f7e0b4c029165ed284a4704f262ce37c791c493c5"),
            SHARD.format("validation"): (1_476_104, "b768a1ea34afc9f80d3106d9b21f80fa8a00ec450a1f6cd641af72ca9e591021"),
            SHARD.format("test"): (936_358, "1d308841f0c82df363d3d638b33b69b8abd266b1e615ae5d2607dbb24c70beb1"),
        },
    ),
    # The answers of the test are not published, so results are reported on the validation split, which never trains.
    roles={"train": Role.TRAIN, "validation": Role.EVALUATION, "test": Role.EVALUATION},
    published_rows={"train": 182_822, "validation": 4_183, "test": 6_150},
)

OPTIONS = ("opa", "opb", "opc", "opd")
COLUMNS = ("id", "question", *OPTIONS, "cop")
_NUM_TELLING = 200  # rows after which the absence of a first option cannot be chance


def read(raw: Path) -> Iterator[Sample | Rejected]:
    """Read the questions; SourceError if there are none, a file is damaged, or `cop` counts from 1."""
    shards = find_shards(list_files(raw), card.roles)
    if not shards:
        raise not_found(card, raw, f"`{SHARD.format('train')}`")
    for path in chain(*shards.values()):
        _check_counting(path)
    return read_shards(card, raw, shards, COLUMNS, _build, id_column="id")


def _check_counting(path: Path) -> None:
    """Raise SourceError if the column `cop` of a Parquet file counts from 1."""
    try:
        column = pq.read_table(path, columns=["cop"])["cop"]
    except (pa.ArrowException, OSError, KeyError):
        return  # the reader reports it
    advice = f"use the Parquet files of {_HUB}"
    if not pa.types.is_integer(column.type):
        raise SourceError(f"{path}: column `cop` is not an integer but {column.type}; {advice}")
    answered = column.filter(pc.fill_null(pc.greater_equal(column, 0), False))
    lowest, highest = pc.min_max(answered).as_py().values()
    if len(answered) and (highest > 3 or (lowest > 0 and len(answered) >= _NUM_TELLING)):
        raise SourceError(f"{path}: `cop` counts from 1, as the original JSON lines do; {advice}")


def _build(record: Record, split: str) -> Content:
    question = take_text(record, "question", empty=Reason.QUESTION_EMPTY)
    options = [take_text(record, name) if str(record[name] or "").strip() else "" for name in OPTIONS]
    place = record["cop"]
    if place == -1 or (place is None and split == "test"):
        raise Unusable(Reason.ANSWER_WITHHELD, "field `cop` is withheld")
    if place not in range(len(OPTIONS)):
        reason = Reason.FIELD_MISSING if place is None else Reason.ANSWER_NOT_AN_OPTION
        raise Unusable(reason, "field `cop` is not one of 0, 1, 2, 3")
    if not options[place]:
        raise Unusable(Reason.ANSWER_EMPTY, "the option that `cop` names is empty")
    return {
        "turns": (Turn(question, options[place], options=tuple(filter(None, options))),),
        "attributes": keep(
            choice_type=take_optional_text(record, "choice_type"),
            explanation=take_optional_text(record, "exp"),
            subject_name=take_optional_text(record, "subject_name"),
            topic_name=take_optional_text(record, "topic_name"),
        ),
    }
