"""The model card: front matter of the Hugging Face Hub with the scores, and the terms of the training data.

Results on generated data are named so, and generated datasets are not listed as the published ones.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

from huggingface_hub import EvalResult, ModelCardData

from openmedq.config import OURS, Licences
from openmedq.datasets.card import Access
from openmedq.reporting.document import Cell, Table, count, score, text
from openmedq.reporting.page import make_environment
from openmedq.reporting.results import HUB_TASKS, DatasetResult, Results
from openmedq.reporting.sections.answers import iterate_scores

Form = Literal["merged", "adapter"]
Tree = Mapping[str, Any]

MODEL_NAME = "OpenMedQ"
_HUB = re.compile(r"https://huggingface\.co/datasets/([\w.-]+/[\w.-]+)")
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


def render(results: Results, tree: Tree, policy: Licences, form: Form = "merged") -> str:
    """Render the card from training_data.json (`tree`) and the licence policy of the export.

    Without scores in `results` the card has no `model-index`.
    """
    sources = tree["sources"]
    language = tree["base_weights"].get("language", {})
    arguments = {"pretrained_model_name_or_path": language.get("weights")}
    if language.get("revision"):
        arguments["revision"] = language["revision"]
    answers = ((title, scores["num_rows"], scores) for title, scores in iterate_scores(results))
    transfers = (
        (data.card.title, scores["num_test_rows"], scores.get(OURS, {})) for data, scores in results.iterate_transfers()
    )

    def name_sources(field: str, value: str) -> list[str]:
        return [results.title_of(name) for name, entry in sources.items() if entry[field] == value]

    template = make_environment().get_template("model_card.md.j2")
    return template.render(
        front_matter=_describe(results, tree, form).to_yaml(),
        form=form,
        language=language,
        arguments=json.dumps(arguments),
        policies=(tree["policy"], policy),
        credentialed=name_sources("access", Access.CREDENTIALED),
        miniatures=name_sources("origin", "miniature"),
        scores=_tabulate_scores("Rows", results.metrics, answers, 1),
        transfer=_tabulate_scores("Test rows", results.transfer_metrics, transfers, 3),
        confidence=results.evaluation.get("all", {}).get("confidence"),
        sources=_tabulate_sources(results, sources),
        bases=_tabulate_bases(tree["base_weights"]),
    )


def _describe(results: Results, tree: Tree, form: Form) -> ModelCardData:
    """The front matter."""
    published = [results.find(name) for name, entry in tree["sources"].items() if entry["origin"] != "miniature"]
    bases = [base["weights"] for base in tree["base_weights"].values() if _HUB_ID.fullmatch(base["weights"])]
    tags = ["medical", "vision-language", "radiology", "pathology", "visual-question-answering", "openmedq"]
    if len(published) < len(tree["sources"]):
        tags.append("generated-data")
    return ModelCardData(
        model_name=MODEL_NAME,
        language=list(results.languages),
        license="other",
        license_name="licences-of-the-training-data",
        license_link="README.md",
        library_name="transformers" if form == "merged" else "peft",
        pipeline_tag="image-text-to-text",
        base_model=bases or None,
        datasets=sorted(set(filter(None, map(_find_hub_id, filter(None, published))))) or None,
        tags=tags,
        eval_results=[*_list_results(results)] or None,
    )


def _find_hub_id(data: DatasetResult) -> str | None:
    """The id of a dataset on the Hub, if it is published there."""
    found = (_HUB.match(url) for url in (data.card.homepage, *(file.url for file in data.card.files)))
    return next((match[1] for match in found if match), None)


def _list_results(results: Results) -> Iterator[EvalResult]:
    """Entries of model-index: each metric of each evaluated source, and of each benchmark."""
    scored = [(data, scores, results.evaluation["metrics"]) for data, scores in results.iterate_scores()]
    for data, scores in results.iterate_transfers():
        own = {**scores.get(OURS, {}), "num_rows": scores["num_test_rows"]}
        scored.append((data, own, results.transfer_metrics))
    for data, scores, metrics in scored:
        yield from (_evaluate(data, metric, scores) for metric in metrics if metric["name"] in scores)


def _evaluate(data: DatasetResult, metric: Tree, scores: Tree) -> EvalResult:
    """One entry of model-index; the interval and the number of rows are arguments of the metric."""
    name, card = metric["name"], data.card
    arguments = {"num_rows": scores["num_rows"]}
    arguments |= {bound: scores[f"{name}_{bound}"] for bound in ("low", "high") if f"{name}_{bound}" in scores}
    task = "question-answering" if card.modality == "text" else HUB_TASKS[card.task]
    return EvalResult(
        task_type=task,
        dataset_type=f"generated-miniature/{card.id}" if data.is_miniature else _find_hub_id(data) or card.id,
        dataset_name=f"{card.title} (generated miniature)" if data.is_miniature else card.title,
        metric_type=name,
        metric_name=metric["title"],
        metric_value=scores[name],
        metric_args=arguments,
        verified=False,
    )


def _tabulate_scores(
    counted: str, metrics: Sequence[Tree], scored: Iterable[tuple[str, int, Tree]], digits: int
) -> Table | None:
    """A row for each dataset, given its title, number of rows and scores; None without any."""
    rows = [
        [text(title), count(num_rows), *(score(scores, metric["name"], digits) for metric in metrics)]
        for title, num_rows, scores in scored
    ]
    return Table(["Dataset", counted, *(metric["title"] for metric in metrics)], rows) if rows else None


def _tabulate_sources(results: Results, sources: Tree) -> Table:
    rows = []
    for name, entry in sources.items():
        data = results.find(name)
        title = Cell(data.card.title, link=data.card.homepage) if data else text(name)
        licences = "; ".join(f"{licence}: {number:,}" for licence, number in entry["licences"].items())
        terms = (licences, entry["access"], entry["origin"], data.card.citation if data else "")
        rows.append([title, count(entry["rows"]), *map(text, terms)])
    return Table(["Dataset", "Training rows", "Licences of the rows", "Access", "Origin", "Citation"], rows)


def _tabulate_bases(bases: Tree) -> Table | None:
    rows = [
        [*map(text, (part, base["weights"], base["revision"], base["licence"] or "not stated"))]
        for part, base in bases.items()
    ]
    return Table(["Part", "Weights", "Revision", "Licence"], rows) if rows else None
