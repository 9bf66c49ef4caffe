"""The scores of the answers: by dataset and part, by definition, on the clean rows, by group."""

from collections.abc import Iterable, Iterator, Sequence

from openmedq.evaluation.metrics.predictions import GROUPINGS
from openmedq.reporting.charts import draw_dots, find_point
from openmedq.reporting.document import Block, Cell, Figure, Heading, Row, Table, Text, count, group, score, text
from openmedq.reporting.published import FIGURES, NUM_SOURCES, Published
from openmedq.reporting.results import Results, Tree

ALL = "All datasets"
MAX_GROUPS = 8  # of one dataset that the report shows; metrics.json has all
BASELINES = {"baseline_": "Majority baseline", "majority_": "Majority of the dataset"}  # by prefix of the score
PARTS = ("open", "closed", "clean")  # of the rows of a dataset


def iterate_scores(results: Results) -> Iterator[tuple[str, Tree]]:
    """(title, scores) of all rows together, if there are several datasets, and of each dataset."""
    scored = [(data.card.title, scores) for data, scores in results.iterate_scores()]
    if len(scored) > 1:
        yield ALL, results.evaluation["all"]
    yield from scored


def show_scores(results: Results) -> Iterator[Block]:
    """The scores of each dataset and its parts, with intervals and the majority baseline."""
    scored = list(iterate_scores(results))
    if not scored:
        yield Text("No scores: `evaluate` has not been run, or the mix has no row of an evaluation split.")
        return
    confidence = results.evaluation["all"].get("confidence")
    yield Text(
        "Greedy answers, scored against the references. The majority baselines see no image: one answers each question "
        "with its most frequent training answer, the other with the most frequent one of the dataset. Only a score "
        "above them shows that the model uses the image or the text. Intervals are percentile bootstrap intervals"
        f"{f', {100 * confidence:g} %' if confidence else ''}; images are drawn with all their questions. "
        "`docs/explanation/metrics.md` of OpenMedQ defines the scores, and `data/evaluation/predictions.parquet` has "
        "every answer with its published record."
    )
    for metric in results.metrics:
        if metric["has_baseline"]:
            name, title = metric["name"], f"{metric['title']} by dataset in percent, with the majority baseline"
            labels = [f"{label} ({scores['num_rows']:,})" for label, scores in scored]
            points = [find_point(scores, name) for _, scores in scored]
            floors = [scores[f"baseline_{name}"] for _, scores in scored]
            series = [(f"{metric['title']} in percent, with interval", points)]
            chart = draw_dots(title, labels, series, ("majority baseline", floors), end=100)
            yield Figure(name, title, chart)
    columns = dict(_list_columns(results))
    rows = [row for title, scores in scored for row in _list_parts(list(columns), title, scores)]
    yield Table(["Dataset", "Rows", *columns.values()], rows)
    shown = [*columns, *(metric["name"] for metric in results.definitions)]
    if others := [metric for metric in results.evaluation["metrics"] if metric["name"] not in shown]:
        yield Heading("Scores of some of the questions")
        yield _tabulate_metrics("Score", others, scored)


def _pick_shared(results: Results) -> list[Tree]:
    """The metrics that every dataset has, and those of the headline."""
    scored = [scores for _, scores in results.iterate_scores()]
    return [
        metric
        for metric in results.metrics
        if metric["is_headline"] or all(metric["name"] in scores for scores in scored)
    ]


def _list_columns(results: Results) -> Iterator[tuple[str, str]]:
    """(name, title) of the shared metrics and of their baselines."""
    overall = results.evaluation["all"]
    for metric in _pick_shared(results):
        yield metric["name"], metric["title"]
        for prefix, title in BASELINES.items():
            if f"{prefix}{metric['name']}" in overall:
                yield f"{prefix}{metric['name']}", title


def _list_parts(names: Sequence[str], title: str, scores: Tree) -> Iterator[Row]:
    """The rows of a dataset: all of it, and its parts that are not all of it."""
    yield _list_cells(names, title, scores)
    for name in PARTS:
        part = scores.get(name)
        if part and 0 < part["num_rows"] < scores["num_rows"]:
            yield _list_cells(names, name, part, "part")


def _list_cells(names: Sequence[str], title: str, scores: Tree, kind: str = "") -> Row:
    num_rows, num_available = scores["num_rows"], scores.get("num_available", scores["num_rows"])
    number = count(num_rows)
    if num_rows != num_available:
        number = Cell(number.text, f"of {num_available:,}", number.kind)
    return [text(title, kind), number, *(score(scores, name) for name in names)]


def _tabulate_metrics(title: str, metrics: Iterable[Tree], scored: Sequence[tuple[str, Tree]]) -> Table:
    """A row for each metric, a column for each dataset."""
    rows = [[text(metric["title"]), *(score(scores, metric["name"]) for _, scores in scored)] for metric in metrics]
    return Table([title, *(name for name, _ in scored)], rows)


def show_definitions(results: Results) -> Iterator[Block]:
    """BLEU-1 of the same answers by definition."""
    scored = list(iterate_scores(results))
    if not scored or not results.definitions:
        return
    title = "BLEU-1 of the same answers by definition, in percent"
    overall = scored[0][1]
    shown = [metric for metric in results.definitions if metric["name"] in overall]
    points = [find_point(overall, metric["name"]) for metric in shown]
    labels = [metric["title"] for metric in shown]
    chart = draw_dots(title, labels, [("all rows, with interval", points)], end=100)
    yield Text(
        "The same answers under each definition by which published figures were computed. Two figures can be compared "
        "only if one definition gave both."
    )
    yield Figure("definitions", title, chart)
    yield _tabulate_metrics("Definition", results.definitions, scored)


def show_paper(results: Results) -> Iterator[Block]:
    """The paper's figures beside ours, and whether they can be compared."""
    yield Text(
        f"The paper’s scores of its 7-billion-parameter model, trained on all {NUM_SOURCES} sources, and those that it "
        "reports of others, beside those of this run. The mean over the benchmarks stands with the encoders, below."
    )
    header = ["BLEU-1, as the paper reports it", "Published", "This run, comparable definitions", "Comparable?"]
    yield Table(header, [_compare(results, figure) for figure in FIGURES])


def _compare(results: Results, figure: Published) -> Row:
    """A published figure, our scores under the definitions that it can be compared with, and the conditions."""
    data = results.find(figure.source)
    scores = results.evaluation.get(figure.source, {"num_rows": 0})
    ours, conditions = "", [figure.reason]
    if data is None or not scores["num_rows"]:
        conditions.append("not in this run")
    else:
        shown = (metric for metric in results.definitions if metric["name"] in figure.metrics)
        ours = "; ".join(f"{metric['title']}: {score(scores, metric['name']).text}" for metric in shown)
        if data.is_miniature:
            conditions.append("ours is of a generated miniature: not comparable")
        elif scores["num_rows"] != (num_published := data.num_published_evaluation_rows):
            num_rows = scores["num_rows"]
            conditions.append(f"ours is of {num_rows:,} rows, the published test has {num_published:,}: not comparable")
    value = Cell(str(figure.value), kind="number")
    return [text(figure.name), value, text(ours), text("; ".join(conditions), "why")]


def show_clean(results: Results) -> Iterator[Block]:
    """The rows that no training row repeats, beside all rows."""
    scored = [(title, scores) for title, scores in iterate_scores(results) if scores.get("clean", {}).get("num_rows")]
    if not scored:
        return
    names = [(metric["name"], metric["title"]) for metric in results.metrics if metric["is_headline"]]
    header = ["Dataset", "Rows", "Clean rows"]
    for _, title in names:
        header += [title, f"{title}, clean", "Difference"]
    rows = []
    for title, scores in scored:
        cells = [text(title), count(scores["num_rows"]), count(scores["clean"]["num_rows"])]
        for name, _ in names:
            cells += [score(scores, name), score(scores["clean"], name)]
            cells.append(score(scores, f"difference_clean_{name}", is_signed=True))
        rows.append(cells)
    yield Text(
        "An evaluation row is clean if no training row shows its image or asks its question with its answer. The "
        "difference is the score on the clean rows minus the score on all rows."
    )
    yield Table(header, rows)


def show_groups(results: Results) -> Iterator[Block]:
    """The scores by question type, organ and modality."""
    rows, metrics = [], _pick_shared(results)
    for data, scores in results.iterate_scores():
        for name in GROUPINGS:
            groups = sorted(scores.get(name, {}).items(), key=lambda group: -group[1]["num_rows"])
            if len(groups) < 2:
                continue
            title = text(f"{data.card.title}, {name.replace('_', ' ')}")
            for value, part in groups[:MAX_GROUPS]:
                cells = (score(part, metric["name"]) for metric in metrics)
                rows.append([title, text(value), count(part["num_rows"]), *cells])
            if others := len(groups[MAX_GROUPS:]):
                rows.append([title, Cell(f"and {others} more", kind="none")])
    if rows:
        yield Text(
            "As the records state them; the largest groups of each dataset. `data/evaluation/metrics.json` has all."
        )
        yield Table(["Dataset", "Group", "Rows", *(metric["title"] for metric in metrics)], group(rows))
