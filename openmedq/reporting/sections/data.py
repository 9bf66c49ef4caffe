"""The data: rows from the published files to the mix, and what this run has left out."""

from collections.abc import Iterator

from openmedq.reporting.document import Block, Cell, Heading, Row, Table, Text, count, group, text
from openmedq.reporting.published import ENCODERS
from openmedq.reporting.results import OUTCOMES, DatasetResult, Results
from openmedq.schema import Role

_ORIGINS = {"mirror": "local folder"}


def show_waterfall(results: Results) -> Iterator[Block]:
    """The number of records of each dataset by outcome."""
    yield Text(
        "Every record found is in the mix or excluded for a reason. Why a dataset is absent stands below, in **What "
        "was not run**."
    )
    header = ["Dataset", "Files", "Found", "Read", *(name.capitalize() for name in OUTCOMES)]
    yield Table(header, [_count_outcomes(each) for each in results.datasets])
    reasons = [
        [text(each.card.title), text(reason), count(number)]
        for each in results.datasets
        for reason, number in each.exclusion_reasons
    ]
    if reasons:
        yield Heading("Exclusion reasons")
        yield Table(["Dataset", "Reason", "Records"], group(reasons))


def _count_outcomes(data: DatasetResult) -> Row:
    title = Cell(data.card.title, "benchmark" if data.card.kind == "benchmark" else "")
    files = text(_ORIGINS.get(data.origin or "", data.origin)) if data.is_present else text(data.state, "none")
    return [title, files, *map(count, (data.found, data.read, *(data.outcomes[name] for name in OUTCOMES)))]


def show_missing(results: Results) -> Iterator[Block]:
    """What this run has not done, and why."""
    if rows := [[text(what), text(reason, "why")] for what, reason in _list_missing(results)]:
        yield Table(["What", "Reason"], rows)


def _list_missing(results: Results) -> Iterator[tuple[str, str]]:
    for data in results.datasets:
        if not data.is_present:
            yield data.card.title, f"{data.state}: {data.reason}" if data.reason else data.state
    for data in results.sources:
        if data.is_present and (reason := _why_not_evaluated(results, data)):
            yield f"Answers to {data.card.title}", reason
    for data, scores in results.iterate_scores():
        if scores["num_rows"] != scores["num_available"]:
            number = scores["num_available"] - scores["num_rows"]
            yield f"{number:,} rows of {data.card.title}", "evaluate.max_rows limits the rows of a dataset"
    scored = {data.card.id for data, _ in results.iterate_transfers()}
    for data in results.datasets:
        if data.card.kind == "benchmark" and data.is_present and data.card.id not in scored:
            yield f"Transfer to {data.card.title}", "transfer has not scored it"
    for name, title in ENCODERS.items():
        if results.encoders and name not in results.encoders:
            yield f"Encoder: {title}", "transfer.encoders does not name it"
    if not results.evaluation:
        return
    if not results.evaluation.get("controls"):
        yield "Controls without the image", "the evaluation has none (evaluate.controls)"
    zero_shot = results.evaluation.get("zero_shot", {})
    if not zero_shot:
        yield "Zero-shot classification", "the evaluation has none (evaluate.zero_shot_rows)"
    elif not any("similarity" in scores for name, scores in zero_shot.items() if name != "metrics"):
        yield "Zero-shot classification by similarity", "the model was not trained with the contrastive loss"


def _why_not_evaluated(results: Results, data: DatasetResult) -> str:
    """Why a source has no scores; "" if it has."""
    if results.evaluation.get(data.card.id, {}).get("num_rows"):
        return ""
    if data.mix.get(Role.EVALUATION):
        return "not evaluated"
    return "its evaluation rows are excluded" if Role.EVALUATION in data.card.roles.values() else "no evaluation split"
