"""The page: chooses what is said of the results, and hands it to the template. Wording and looks are the template's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jinja2

from openmedq.reporting.charts import FATES, Bar, draw_fates, draw_loss, draw_scores
from openmedq.reporting.examples import Example
from openmedq.reporting.published import FIGURES, NUM_SOURCES, Figure
from openmedq.reporting.results import WHERE_NEXT, Results, SetResult, Tree
from openmedq.schema import Role

PARTS = (("all rows", None), ("open", "open"), ("closed", "closed"), ("new pictures", "new_pictures"))


@dataclass(frozen=True)
class Comparison:
    """A figure of the paper beside ours, and why the two do not compare."""

    figure: Figure
    ours: Tree | None  # {"value", "low", "high"}
    caveat: str


def render(results: Results, examples: Sequence[Example]) -> str:
    """The whole page as HTML, without any reference to another file."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("openmedq.reporting"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(count=_format_count, score=_format_score, span=_format_span)
    return environment.get_template("index.html.j2").render(
        results=results,
        examples=sorted(examples, key=lambda example: not example.pictures),
        comparisons=[_compare(results, figure) for figure in FIGURES],
        headlines=_headlines(results),
        parts=PARTS,
        num_sources=NUM_SOURCES,
        confidence=(results.evaluation or {}).get("all", {}).get("confidence"),
        where_next=WHERE_NEXT,
        miniatures=[each for each in results.sets if each.is_miniature],
        num_present=sum(each.is_present for each in results.sources),
        num_rows={role.value: sum(each.fates[role.value] for each in results.sources) for role in Role},
        not_asked=[f"{each.title} ({reason})" for each in results.sources if (reason := _why_not_asked(results, each))],
        transfers=[(_title(results, name), scores) for name, scores in _iterate_transfers(results)],
        fates=FATES,
        reasons=[(each.title, *reason) for each in results.sets for reason in each.reasons],
        scores_chart=_draw_scores(results),
        fates_chart=draw_fates(
            "What became of the records found, per set", [(each.title, each.fates) for each in results.sets]
        ),
        loss_chart=draw_loss("Training loss over updates", results.losses) if results.losses else None,
    )


def find_interval(scores: Tree, name: str) -> Tree:
    """`{"value", "low", "high"}` of a score; bounds are None where there is no interval."""
    return {"value": scores[name], "low": scores.get(f"{name}_low"), "high": scores.get(f"{name}_high")}


def _compare(results: Results, figure: Figure) -> Comparison:
    if figure.source is None:
        return _compare_transfer(results, figure)
    data = results.find(figure.source)
    scores = (results.evaluation or {}).get(figure.source)
    if data is None:
        return Comparison(figure, None, "this set has no reader yet")
    if not data.is_present or not scores or not scores["num_rows"]:
        return Comparison(figure, None, "not among the files of this run")
    return Comparison(figure, find_interval(scores, "bleu_1"), _find_caveat(data, scores))


def _find_caveat(data: SetResult, scores: Tree) -> str:
    """Why a score of ours does not stand on the paper's ground; there always is a reason."""
    if data.is_miniature:
        return "ours is of a generated miniature: not comparable"
    num_rows, num_published = scores["num_rows"], data.num_published_evaluation_rows
    if num_rows != num_published:
        return f"ours is of {num_rows:,} rows, the published test has {num_published:,}: not comparable"
    return "the published test; how the paper tokenizes is not known"


def _compare_transfer(results: Results, figure: Figure) -> Comparison:
    names = [name for name, _ in _iterate_transfers(results)]
    if not results.transfer or not names:
        return Comparison(figure, None, "no classification set in this run")
    titles = ", ".join(_title(results, name) for name in names)
    is_miniature = any(each.is_miniature for each in results.benchmarks if each.id in names)
    kind = "generated miniatures" if is_miniature else "not the paper's eight"
    ours = _without_interval(results.transfer["mean"])
    return Comparison(figure, ours, f"ours is of {titles}, {kind}: not comparable")


def _iterate_transfers(results: Results) -> list[tuple[str, Tree]]:
    return [(name, scores) for name, scores in (results.transfer or {}).items() if name != "mean"]


def _title(results: Results, set_id: str) -> str:
    found = results.find(set_id)
    return found.title if found else set_id


def _why_not_asked(results: Results, data: SetResult) -> str:
    """Why a source has no scores; "" where it has."""
    if not data.is_present:
        return data.state
    if (results.evaluation or {}).get(data.id, {}).get("num_rows"):
        return ""
    if data.mix.get(Role.EVALUATION):
        return "not evaluated"
    return "its evaluation rows are kept out" if Role.EVALUATION in data.roles.values() else "no evaluation split"


def _headlines(results: Results) -> list[Mapping[str, Any]]:
    """The few numbers on top: each with its interval and what to hold it against."""
    headlines: list[Mapping[str, Any]] = []
    overall = (results.evaluation or {}).get("all")
    if overall and overall["num_rows"]:
        headlines.append(_headline("Exact match", overall, "exact_match"))
        if "exact_match_low" in overall["new_pictures"]:  # a few rows on one picture are no headline
            headlines.append(_headline("Exact match, new pictures", overall["new_pictures"], "exact_match"))
        notes = [f"{overall['num_rows']:,} answers"]
        headlines.append({"name": "BLEU-1", "notes": notes, "digits": 1, **find_interval(overall, "bleu_1")})
    transfers = _iterate_transfers(results)
    if results.transfer and transfers:
        mean = results.transfer["mean"]
        ours = find_interval(transfers[0][1]["trained"], "macro_f1") if len(transfers) == 1 else _without_interval(mean)
        name = f"Macro-F1, {_title(results, transfers[0][0]) if len(transfers) == 1 else 'mean of transfer'}"
        headlines.append({"name": name, "notes": [f"from scratch {mean['scratch']:.3f}"], "digits": 3, **ours})
    return headlines


def _headline(name: str, scores: Tree, score: str) -> Mapping[str, Any]:
    notes = [f"{scores['num_rows']:,} answers", f"never looking {scores['baseline_exact_match']:.1f}"]
    return {"name": name, "notes": notes, "digits": 1, **find_interval(scores, score)}


def _without_interval(mean: Tree) -> Tree:
    return {"value": mean["trained"], "low": None, "high": None}


def _draw_scores(results: Results) -> str | None:
    scored = [(data.title, scores) for data, scores in results.iterate_scores()]
    if not scored:
        return None
    rows = [("all together", (results.evaluation or {})["all"]), *scored] if len(scored) > 1 else scored
    bars = [
        Bar(
            label=name,
            value=scores["exact_match"],
            low=scores.get("exact_match_low"),
            high=scores.get("exact_match_high"),
            floor=scores["baseline_exact_match"],
            note=f"{scores['exact_match']:.1f} of {scores['num_rows']:,} rows",
        )
        for name, scores in rows
    ]
    return draw_scores("Exact match per source in percent, with intervals and the floor of never looking", bars)


def _format_count(number: int) -> str:
    return f"{number:,}"


def _format_score(value: float, digits: int = 1) -> str:
    return f"{value:.{digits}f}"


def _format_span(interval: Tree, digits: int = 1) -> str:
    """`62.1 – 70.3`; nothing where there is no interval."""
    if interval["low"] is None:
        return ""
    return f"{interval['low']:.{digits}f}\u2009–\u2009{interval['high']:.{digits}f}"
