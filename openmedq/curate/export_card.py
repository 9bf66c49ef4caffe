"""The dataset card of `export-mix`, from the exported rows of the index and the cards."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import yaml

from openmedq.config import Licences
from openmedq.datasets.card import Access, Card
from openmedq.datasets.licences import spell
from openmedq.schema import Role, Task

if TYPE_CHECKING:
    from openmedq.curate.export_formats import Format

_CATEGORIES = {  # of Hugging Face's hub
    Task.VQA: "visual-question-answering",
    Task.MULTIPLE_CHOICE: "visual-question-answering",
    Task.CAPTION: "image-to-text",
    Task.REPORT: "image-to-text",
    Task.TEXT_QA: "question-answering",
    Task.CLASSIFICATION: "image-classification",
}
_SIZES = (("n<1K", 10**3), ("1K<n<10K", 10**4), ("10K<n<100K", 10**5), ("100K<n<1M", 10**6), ("1M<n<10M", 10**7))

_TEXT = """# A mix of medical image-text datasets, exported by OpenMedQ

{loading}

Rows of the role `evaluation` are test data: do not train on them. `weight` is the number of times that a row is drawn
per epoch. The rows keep the licences of their sources, see `licences.csv`; the export was made under the licence policy
`{policy}`. Whoever passes the data on must meet the conditions of the licences (attribution, share-alike, no commercial
use, no derivatives).
"""


def render_card(
    index: pa.Table, cards: Mapping[str, Card], form: Format, policy: Licences, generated: Sequence[str] = ()
) -> str:
    """The text of README.md, with the front matter of Hugging Face's hub. `generated`: sources that are miniatures."""
    roles = [role.value for role in Role if role.value in pc.unique(index["role"]).to_pylist()]
    tasks = map(Task, pc.unique(index["task"]).to_pylist())
    head: dict[str, Any] = {
        "pretty_name": "OpenMedQ mix",
        "license": "other",
        "tags": ["medical"],
        "task_categories": sorted({_CATEGORIES[task] for task in tasks}),
        "size_categories": [next((name for name, bound in _SIZES if len(index) < bound), "n>10M")],
    }
    if form.data_files:
        files = [{"split": role, "path": form.data_files.format(role=role)} for role in roles]
        head["configs"] = [{"config_name": "default", "data_files": files}]
    lines = ["---", yaml.safe_dump(head, sort_keys=False).rstrip(), "---", ""]
    lines.append(_TEXT.format(loading=form.loading, policy=policy))
    if generated:
        lines.append(f"**Generated miniatures without medical content: {', '.join(generated)}.**\n")
    lines += [*_render_table(index, cards, roles)]
    return "\n".join(lines) + "\n"


def _render_table(index: pa.Table, cards: Mapping[str, Card], roles: list[str]) -> Iterator[str]:
    columns = [index[name].to_pylist() for name in ("source", "role", "licence", "access")]
    by_role: Counter[tuple[str, str]] = Counter()
    by_licence: dict[str, Counter[str]] = {}
    access: dict[str, str] = {}
    for source, role, licence, kind in zip(*columns, strict=True):
        by_role[source, role] += 1
        by_licence.setdefault(source, Counter())[spell(licence) or licence] += 1
        access[source] = kind
    yield _row("source", *roles, "licences of the rows", "access", "citation")
    yield _row(*["---"] * (4 + len(roles)))
    for source, licences in by_licence.items():
        card = cards.get(source)
        title = f"[{card.title}]({card.homepage})" if card and card.homepage else card.title if card else source
        words = "; ".join(f"{licence}: {number:,}" for licence, number in sorted(licences.items()))
        counts = (f"{by_role[source, role]:,}" for role in roles)
        yield _row(title, *counts, words, access[source], card.citation if card else "")
    yield _row(
        "all", *(f"{sum(n for (_, each), n in by_role.items() if each == role):,}" for role in roles), "", "", ""
    )
    if names := [source for source, kind in access.items() if kind == Access.CREDENTIALED]:
        yield f"\nOf credentialed or private access: {', '.join(names)}. This folder must not be passed on."


def _row(*cells: str) -> str:
    return f"| {' | '.join(' '.join(cell.replace('|', '/').split()) for cell in cells)} |"
