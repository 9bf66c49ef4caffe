"""What training rows share with evaluation rows, and pairs of such rows with the line that overrules the decision."""

from collections.abc import Iterator, Sequence
from itertools import groupby

from openmedq.curate.reasons import Tier
from openmedq.reporting.document import Block, Cell, Heading, Pairs, Table, Text, count, group, text
from openmedq.reporting.examples import Pair
from openmedq.reporting.results import Results


def show_contamination(results: Results, pairs: Sequence[Pair]) -> Iterator[Block]:
    """The training rows of each source that share something with each evaluation dataset, by the strongest tier."""
    if results.shared is None:
        return
    if not results.shared:
        yield Text("No training row shares an image, a text, a name or a group with an evaluation row.")
        return
    tiers = [tier for tier in Tier if any(tier == each.tier for each in results.shared)]
    yield Text(
        "Training rows that share something with an evaluation row, by the strongest tier, and how many of them are "
        "trained on. `deduplicate.keep_out` sets which rows on an evaluation image are excluded: by default those of "
        "other datasets, but not those of the same dataset (**own split**). A copy of a whole evaluation row is always "
        "excluded. Rows of the same series, study, patient, case or article are counted only."
    )
    header = ["Training rows of", "Evaluation rows of", *(tier.capitalize() for tier in tiers)]
    yield Table(header, group(_list_counts(results, tiers)))
    if pairs:
        yield Heading("Pairs of rows")
        yield Text(
            "A few of each tier, the least alike first, from open datasets only. Evidence is between 0 and 1. To "
            "overrule a decision, append the line below the pair to `data/copies.csv`, or to the file that "
            "`deduplicate.overrides` names, and run `dvc repro`. A row that shares something with several evaluation "
            "rows needs a line for each."
        )
        yield Pairs(pairs)


def _list_counts(results: Results, tiers: Sequence[Tier]) -> Iterator[list[Cell]]:
    for (source, dataset), own in groupby(
        results.shared or (), key=lambda each: (each.source, each.evaluation_dataset)
    ):
        cells = dict.fromkeys(map(str, tiers), count(0))
        for each in own:
            number = count(each.training_rows)
            cells[each.tier] = Cell(number.text, f"{each.kept:,} trained on", number.kind)
        evaluated = text(results.title_of(dataset))
        if source == dataset:
            evaluated = Cell(evaluated.text, "own split", "strong")
        yield [text(results.title_of(source)), evaluated, *cells.values()]
