"""Which datasets share which names: keys that identify an image or a question without looking at it.

- Figures of articles in PubMed Central are named by article and figure, and datasets take them apart differently: the
  number of the figure is the key. Two of its panels have the same key.
- MedPix images keep their name, `synpic<number>`, in VQA-RAD and VQA-Med 2019.
- VQA-RAD links the paraphrases of a question (`qid_linked_id`).
- PubMedQA needs no key: its ids are those of articles, and the reader rejects a second one.
Patients, studies, cases and articles are counted; they say that rows are related, not that they are copies.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from openmedq.curate.links import Link, link_equal
from openmedq.curate.reasons import Tier

COLUMNS = ("groups", "images.list.element.image_id")
FIGURES = frozenset({"roco", "pmc_oa", "pmc_vqa"})
MEDPIX = frozenset({"vqa_rad", "vqa_med_2019"})

_NUMBER = re.compile(r"(\d+)\D*$")


@dataclass(frozen=True)
class Key:
    """A name that rows have, and the datasets that share the names; None: each dataset has its own."""

    tier: Tier
    read: Callable[[pa.RecordBatch], pa.Array]
    datasets: frozenset[str] | None = None


def _read_group(name: str) -> Callable[[pa.RecordBatch], pa.Array]:
    return lambda rows: pc.struct_field(rows["groups"], name)


def _read_image_names(rows: pa.RecordBatch) -> pa.Array:
    """The name of each row's first image, or null."""
    return pc.list_element(
        pc.if_else(pc.equal(pc.list_value_length(rows["images"]), 0), None, rows["images"]), 0
    ).field("image_id")


def _read_medpix_names(rows: pa.RecordBatch) -> pa.Array:
    return pc.struct_field(pc.extract_regex(_read_image_names(rows), r"(?i)synpic(?P<name>\d+)"), "name")


def _read_figures(rows: pa.RecordBatch) -> pa.Array:
    """Article and number of the figure: `PMC6146807_F2_369615.jpg`, `PMC6146807_g002.jpg` and others: PMC6146807 2."""
    attributes = rows["attributes"].to_pylist()
    articles = _read_group("article")(rows).to_pylist()
    return pa.array(map(_name_figure, articles, attributes), pa.string())


def _name_figure(article: str | None, attributes: list[dict[str, str]]) -> str | None:
    figure = next((each["value"] for each in attributes if each["name"] == "figure"), "").rsplit(".", 1)
    if article is None or not figure[0]:
        return None
    stem = figure[0] if len(figure) == 1 or not figure[1].isdecimal() else figure[1]  # x.jpg, or 10.1371.g002 and x.003
    match = _NUMBER.search(stem)
    return f"{article} {int(match[1])}" if match else f"{article} {stem.casefold()}"


KEYS = (
    Key(Tier.SAME_FIGURE, _read_figures, FIGURES),
    Key(Tier.SAME_NAME, _read_medpix_names, MEDPIX),
    Key(Tier.SAME_QUESTION, _read_group("question")),
    Key(Tier.SAME_STUDY, _read_group("study")),
    Key(Tier.SAME_PATIENT, _read_group("patient")),
    Key(Tier.SAME_CASE, _read_group("case")),
    Key(Tier.SAME_ARTICLE, _read_group("article"), FIGURES),
)


class Identities:
    """Collects the keys of all rows, batch by batch."""

    def __init__(self) -> None:
        self._found: dict[Tier, list[pa.Table]] = {key.tier: [] for key in KEYS}

    @staticmethod
    def columns(dataset: str) -> list[str]:
        """The columns that `add` needs."""
        return [*COLUMNS, *(["attributes"] if dataset in FIGURES else [])]

    def add(self, dataset: str, rows: pa.RecordBatch, first: int) -> None:
        """Add rows of a dataset; `first` is the number of the first row."""
        numbers = pa.array(np.arange(first, first + len(rows)))
        for key in KEYS:
            if key.datasets is None or dataset in key.datasets:
                names = key.read(rows)
                if key.datasets is None:
                    names = pc.binary_join_element_wise(dataset, names, "/")
                self._found[key.tier].append(pa.table({"row": numbers, "name": names}).filter(pc.is_valid(names)))

    def link(self) -> list[Link]:
        """A link for each key."""
        links = []
        for tier, tables in self._found.items():
            if tables:
                found = pa.concat_tables(tables).combine_chunks()
                names = found["name"].combine_chunks().dictionary_encode().indices
                links.append(link_equal(tier, found["row"].to_numpy(), names.to_numpy().astype(np.int64)))
        return links
