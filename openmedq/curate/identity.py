"""Which datasets share which names: keys that identify an image or a question without looking at it.

- Figures of articles in PubMed Central are named by article and figure, and datasets take them apart differently: the
  number of the figure is the key. Two of its panels have the same key.
- MedPix images keep their name, `synpic<number>`, in VQA-RAD and VQA-Med 2019.
- VQA-RAD links the paraphrases of a question (`qid_linked_id`).
- PubMedQA needs no key: its ids are those of articles, and the reader rejects a second one.
Patients, studies, cases and articles are counted; they say that rows are related, not that they are copies.
"""

import re
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from openmedq.curate.links import Link, link_equal
from openmedq.curate.reasons import Tier

FIGURES = frozenset({"roco", "pmc_oa", "pmc_vqa"})
MEDPIX = frozenset({"vqa_rad", "vqa_med_2019"})

_OF_GROUPS = {  # names within a dataset
    Tier.SAME_QUESTION: "question",
    Tier.SAME_STUDY: "study",
    Tier.SAME_PATIENT: "patient",
    Tier.SAME_CASE: "case",
}
_NUMBER = re.compile(r"(\d+)\D*$")


class Identities:
    """Collects the keys of all rows, batch by batch."""

    def __init__(self) -> None:
        self._found: dict[Tier, list[pa.Table]] = {tier: [] for tier in Tier}

    @staticmethod
    def columns(dataset: str) -> list[str]:
        """The columns that `add` needs."""
        return ["groups", "images.list.element.image_id", *(["attributes"] if dataset in FIGURES else [])]

    def add(self, dataset: str, rows: pa.RecordBatch, first: int) -> None:
        """Add rows of a dataset; `first` is the number of the first row."""
        numbers = pa.array(np.arange(first, first + len(rows)))
        for tier, names in _read_names(dataset, rows):
            self._found[tier].append(pa.table({"row": numbers, "name": names}).filter(pc.is_valid(names)))

    def link(self) -> list[Link]:
        """A link for each kind of name, the strongest first."""
        links = []
        for tier, tables in self._found.items():
            if tables:
                found = pa.concat_tables(tables).combine_chunks()
                names = found["name"].combine_chunks().dictionary_encode().indices
                links.append(link_equal(tier, found["row"].to_numpy(), names.to_numpy().astype(np.int64)))
        return links


def _read_names(dataset: str, rows: pa.RecordBatch) -> Iterator[tuple[Tier, pa.Array]]:
    """The names of each row, or null."""
    if dataset in FIGURES:
        articles = pc.struct_field(rows["groups"], "article")
        figures = map(_name_figure, articles.to_pylist(), rows["attributes"].to_pylist())
        yield Tier.SAME_FIGURE, pa.array(figures, pa.string())
        yield Tier.SAME_ARTICLE, articles
    if dataset in MEDPIX:  # by the first image
        shown = pc.if_else(pc.equal(pc.list_value_length(rows["images"]), 0), None, rows["images"])
        names = pc.extract_regex(pc.list_element(shown, 0).field("image_id"), r"(?i)synpic(?P<name>\d+)")
        yield Tier.SAME_NAME, pc.struct_field(names, "name")
    for tier, name in _OF_GROUPS.items():
        yield tier, pc.binary_join_element_wise(dataset, pc.struct_field(rows["groups"], name), "/")


def _name_figure(article: str | None, attributes: list[dict[str, str]]) -> str | None:
    """Article and number of the figure: `PMC6146807_F2_369615.jpg`, `PMC6146807_g002.jpg` and others: PMC6146807 2."""
    figure = next((each["value"] for each in attributes if each["name"] == "figure"), "").rsplit(".", 1)
    if article is None or not figure[0]:
        return None
    stem = figure[0] if len(figure) == 1 or not figure[1].isdecimal() else figure[1]  # x.jpg, or 10.1371.g002 and x.003
    match = _NUMBER.search(stem)
    return f"{article} {int(match[1])}" if match else f"{article} {stem.casefold()}"
