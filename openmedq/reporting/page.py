"""Render the report page: select what to show of the results, and fill in the template."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import jinja2
from markupsafe import Markup

from openmedq.reporting import encoders
from openmedq.reporting.charts import draw_definitions, draw_loss, draw_outcomes, draw_scores
from openmedq.reporting.examples import Example
from openmedq.reporting.published import DEFINITIONS, FIGURES, NUM_SOURCES, Figure
from openmedq.reporting.results import OUTCOMES, WHERE_NEXT, DatasetResult, Results, Tree
from openmedq.schema import Role

GROUPINGS = ("question_type", "organ", "modality")
MAX_GROUPS = 8  # of one source that the page shows; metrics.json has all

PARTS = (("all rows", None), ("open", "open"), ("closed", "closed"), ("new images", "new_images"))


@dataclass(frozen=True)
class Comparison:
    """A figure of the paper next to ours, and why the two are not comparable."""

    figure: Figure
    ours: Tree | None  # {"value", "low", "high"}
    caveat: str


@dataclass(frozen=True)
class Headline:
    """A number at the top of the page."""

    name: str
    interval: Tree  # {"value", "low", "high"}
    digits: int
    notes: Sequence[str]


def make_environment() -> jinja2.Environment:
    """Return the environment of this package's pages; they share their style with the validation page."""
    return jinja2.Environment(
        loader=jinja2.ChoiceLoader([jinja2.PackageLoader(f"openmedq.{name}") for name in ("reporting", "curate")]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def render(results: Results, examples: Sequence[Example]) -> str:
    """Render the whole page as self-contained HTML."""
    environment = make_environment()
    environment.filters.update(count="{:,}".format, score=_format_score, span=_format_span, interval=find_interval)
    return environment.get_template("report.html.j2").render(
        results=results,
        encoders=encoders.describe(results),
        examples=sorted(examples, key=lambda example: not example.images),
        comparisons=[_compare(results, figure) for figure in FIGURES],
        headlines=[*_answer_headlines(results), *_transfer_headlines(results)],
        parts=PARTS,
        num_sources=NUM_SOURCES,
        confidence=results.evaluation.get("all", {}).get("confidence"),
        where_next=WHERE_NEXT,
        miniatures=[each for each in results.datasets if each.is_miniature],
        num_present=sum(each.is_present for each in results.sources),
        num_rows={role.value: sum(each.outcomes[role.value] for each in results.sources) for role in Role},
        not_evaluated=[
            f"{each.card.title} ({reason})" for each in results.sources if (reason := _why_not_evaluated(results, each))
        ],
        outcomes=OUTCOMES,
        reasons=[(each.card.title, *reason) for each in results.datasets for reason in each.exclusion_reasons],
        score_charts=list(_draw_scores(results)),
        definitions=DEFINITIONS,
        definitions_chart=_draw_definitions(results),
        groupings=list(_list_groupings(results)),
        outcomes_chart=draw_outcomes(
            "Outcomes of the records found, by dataset", [(each.card.title, each.outcomes) for each in results.datasets]
        ),
        loss_chart=draw_loss("Training loss over updates", results.losses) if results.losses else None,
    )


def find_interval(scores: Tree, name: str) -> Tree:
    """`{"value", "low", "high"}` of a score; the bounds are None if it has no interval."""
    return {"value": scores[name], "low": scores.get(f"{name}_low"), "high": scores.get(f"{name}_high")}


def _compare(results: Results, figure: Figure) -> Comparison:
    if figure.source is None:
        benchmarks = [data for data, _ in results.iterate_transfers()]
        if not benchmarks:
            return Comparison(figure, None, "no benchmark in this run")
        titles = ", ".join(data.card.title for data in benchmarks)
        kind = "generated miniatures" if any(data.is_miniature for data in benchmarks) else "not the paper's eight"
        ours = find_interval(results.transfer["mean"][results.encoders[0]], figure.metric)
        return Comparison(figure, ours, f"ours is of {titles}, {kind}: not comparable")
    data = results.find(figure.source)
    scores = results.evaluation.get(figure.source)
    if data is None or not data.is_present or not scores or not scores["num_rows"]:
        return Comparison(figure, None, "not in this run")
    num_rows, num_published = scores["num_rows"], data.num_published_evaluation_rows
    if data.is_miniature:
        caveat = "ours is of a generated miniature: not comparable"
    elif num_rows != num_published:
        caveat = f"ours is of {num_rows:,} rows, the published test has {num_published:,}: not comparable"
    else:
        caveat = "the published test; the paper does not state its tokenizer"
    return Comparison(figure, find_interval(scores, figure.metric), caveat)


def _why_not_evaluated(results: Results, data: DatasetResult) -> str:
    """Why a source has no scores; "" if it has."""
    if not data.is_present:
        return data.state
    if results.evaluation.get(data.card.id, {}).get("num_rows"):
        return ""
    if data.mix.get(Role.EVALUATION):
        return "not evaluated"
    return "its evaluation rows are excluded" if Role.EVALUATION in data.card.roles.values() else "no evaluation split"


def _answer_headlines(results: Results) -> Iterator[Headline]:
    overall = results.evaluation.get("all", {"num_rows": 0})
    for metric in results.metrics:
        if not metric["is_headline"] or not overall["num_rows"]:
            continue
        parts = [(metric["title"], overall)]
        if f"{metric['name']}_low" in overall["new_images"]:  # a few rows on one image are no headline
            parts.append((f"{metric['title']}, new images", overall["new_images"]))
        for title, scores in parts if metric["has_baseline"] else parts[:1]:
            notes = [f"{scores['num_rows']:,} answers"]
            if metric["has_baseline"]:
                notes.append(f"majority baseline {scores['baseline_' + metric['name']]:.1f}")
            yield Headline(title, find_interval(scores, metric["name"]), 1, notes)


def _transfer_headlines(results: Results) -> Iterator[Headline]:
    transfers = list(results.iterate_transfers())
    for metric in results.transfer_metrics[:1] if transfers else ():
        data, scores = transfers[0]
        title, scores = (data.card.title, scores) if len(transfers) == 1 else ("mean", results.transfer["mean"])
        ours, *others = results.encoders
        notes = [f"{encoder} {scores[encoder][metric['name']]:.3f}" for encoder in others]
        yield Headline(f"{metric['title']}, {title}", find_interval(scores[ours], metric["name"]), 3, notes)


def _draw_scores(results: Results) -> Iterator[Markup]:
    """A chart of each metric that has a majority baseline."""
    rows = [(data.card.title, scores) for data, scores in results.iterate_scores()]
    if len(rows) > 1:
        rows.insert(0, ("all sources", results.evaluation["all"]))
    for metric in results.metrics if rows else ():
        if metric["has_baseline"]:
            yield draw_scores(metric["name"], metric["title"], rows)


def _draw_definitions(results: Results) -> Markup | None:
    """The spread of BLEU-1 over its definitions on this run's answers."""
    scores = [scores for _, scores in results.iterate_scores()]
    overall = results.evaluation.get("all", {})
    rows = [
        (metric["title"], find_interval(overall, metric["name"]), _values_of(scores, metric["name"]))
        for metric in results.definitions
        if metric["name"] in overall
    ]
    return draw_definitions("BLEU-1 of the same answers by definition, in percent", "all rows", rows) if rows else None


def _values_of(scores: Sequence[Tree], name: str) -> list[float]:
    """The values of single sources, if there are several."""
    return [each[name] for each in scores if name in each] if len(scores) > 1 else []


def _list_groupings(results: Results) -> Iterator[tuple[str, str, list[tuple[str, Tree]], int]]:
    """Source, what its rows are grouped by, the largest groups with their scores, and how many groups are left out."""
    for data, scores in results.iterate_scores():
        for name in GROUPINGS:
            groups = sorted(scores.get(name, {}).items(), key=lambda group: -group[1]["num_rows"])
            if len(groups) > 1:
                yield data.card.title, name.replace("_", " "), groups[:MAX_GROUPS], len(groups[MAX_GROUPS:])


def _format_score(value: float, digits: int = 1) -> str:
    return f"{value:.{digits}f}"


def _format_span(interval: Tree, digits: int = 1) -> str:
    """`62.1 – 70.3`; "" if there is no interval."""
    if interval["low"] is None:
        return ""
    return f"{interval['low']:.{digits}f}\u2009–\u2009{interval['high']:.{digits}f}"
