"""The cards of `export-mix`: README.md, datasheet.md, waterfall.svg, croissant.json.

All numbers come from `MixFacts`. README.md is written last, so that a folder that has it is complete.
"""

import json
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
from huggingface_hub import DatasetCardData

from openmedq.config import Licences
from openmedq.curate.export_formats import Format
from openmedq.reporting import croissant
from openmedq.reporting.charts import draw_waterfall, make_standalone
from openmedq.reporting.document import Cell, Table, count, text
from openmedq.reporting.mix_facts import MixFacts, read_facts
from openmedq.reporting.page import make_environment
from openmedq.reporting.published import NUM_ROWS
from openmedq.reporting.results import HUB_TASKS, OUTCOMES
from openmedq.schema import Task
from openmedq.storage.publish import replace_text

_SIZES = ("n<1K", "1K<n<10K", "10K<n<100K", "100K<n<1M", "1M<n<10M", "10M<n<100M", "100M<n<1B")  # of the hub


def write(target: Path, index: pa.Table, form: Format, policy: Licences) -> None:
    """Write the cards of the exported rows; StaleError if an output of a stage is missing."""
    facts = read_facts(index, policy)
    chart = draw_waterfall("Records from the published to the trained ones", facts.steps, ("the paper's mix", NUM_ROWS))
    cards = {
        "waterfall.svg": make_standalone(chart),
        "croissant.json": json.dumps(croissant.describe(target, facts, form), indent=2, ensure_ascii=False) + "\n",
        "datasheet.md": _render("datasheet.md.j2", facts),
        "README.md": _render(
            "dataset_card.md.j2",
            facts,
            front_matter=_describe(facts, form).to_yaml(),
            loading=form.loading,
            sources=_tabulate_sources(facts),
            waterfall=_tabulate_waterfall(facts),
            shared=_tabulate_shared(facts),
            num_paper_rows=NUM_ROWS,
        ),
    }
    for name, content in cards.items():
        replace_text(target / name, content)


def _render(template: str, facts: MixFacts, **more: Any) -> str:
    return re.sub(r"\n{3,}", "\n\n", make_environment().get_template(template).render(facts=facts, **more))


def _describe(facts: MixFacts, form: Format) -> DatasetCardData:
    """The front matter."""
    configs = None
    if form.is_loadable:
        files = [{"split": role, "path": form.data_files.format(role=role)} for role in facts.roles]
        configs = [{"config_name": "default", "data_files": files}]
    return DatasetCardData(
        pretty_name="OpenMedQ mix",
        language=list(facts.languages),
        license="other",
        license_name="licences-of-the-sources",
        license_link="README.md",
        size_categories=[_SIZES[max(len(str(facts.count())) - 3, 0)]],
        task_categories=sorted({HUB_TASKS[Task(task)] for task in facts.tally("task")}),
        tags=["medical", "openmedq", *(["generated-data"] if facts.miniatures else [])],
        configs=configs,
        viewer=None if form.is_loadable else False,
    )


def _tabulate_sources(facts: MixFacts) -> Table:
    rows = []
    for name, data in facts.sources.items():
        licences = "; ".join(f"{licence}: {number:,}" for licence, number in facts.licences_of(name).items())
        card = data.card
        counts = (count(facts.count(source=name, role=role)) for role in facts.roles)
        title = Cell(card.title, link=card.homepage)
        rows.append([title, *counts, *map(text, (licences, card.access, data.origin, card.citation))])
    rows.append([text("all"), *map(count, facts.roles.values())])
    return Table(["Source", *facts.roles, "Licences of the rows", "Access", "Files", "Citation"], rows)


def _tabulate_waterfall(facts: MixFacts) -> Table:
    rows, totals = [], [0] * (len(OUTCOMES) + 4)
    for name, data in facts.sources.items():
        numbers = [data.card.num_published, data.found, data.read]
        numbers += [*(data.outcomes[outcome] for outcome in OUTCOMES), facts.count(source=name)]
        totals = [total + number for total, number in zip(totals, numbers, strict=True)]
        rows.append([text(data.card.title), *map(count, numbers)])
    rows.append([text("all"), *map(count, totals)])
    return Table(["Source", "published", "found", "read", *OUTCOMES, "in this export"], rows)


def _tabulate_shared(facts: MixFacts) -> Table | None:
    rows = [
        [*map(text, (each.source, each.evaluation_dataset, each.tier)), count(each.training_rows), count(each.kept)]
        for each in facts.shared
    ]
    return Table(["Source", "Evaluation dataset", "They share", "Training rows", "In the mix"], rows) if rows else None
