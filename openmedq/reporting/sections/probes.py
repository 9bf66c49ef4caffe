"""Checks of the scores: answers without the image, zero-shot classification, and calibration."""

from collections.abc import Iterator

from openmedq.config import OURS
from openmedq.reporting.charts import draw_calibration, draw_dots, find_point
from openmedq.reporting.document import (
    Block,
    Figure,
    Heading,
    Table,
    Text,
    count,
    format_number,
    score,
    text,
)
from openmedq.reporting.results import Results
from openmedq.reporting.sections.answers import ALL

CONTROLS = {"blank": "Blank image", "shuffled": "Image of another question", "no_image": "No image"}
METHODS = {"likelihood": "likelihood of the class names", "similarity": "similarity of image and class text"}


def show_controls(results: Results) -> Iterator[Block]:
    """The same questions and model with other images or none."""
    controls = results.evaluation.get("controls", {})
    shown = {name: title for name, title in CONTROLS.items() if name in controls}
    sources = [("all", ALL), *((data.card.id, data.card.title) for data, _ in results.iterate_scores())]
    sources = [
        (key, title) for key, title in sources if any(controls[name].get(key, {}).get("num_rows") for name in shown)
    ]
    if not sources:
        return
    yield Text(
        "The same model answers the same questions without their images. A difference near 0 means that the model "
        "answers from the question alone. Questions without an image are left out."
    )
    for metric in results.metrics:
        if not metric["is_headline"]:
            continue
        name, title = metric["name"], f"{metric['title']}: the model minus each control, in percent"
        parts_of = [(label, [controls[each].get(key, {}) for each in shown]) for key, label in sources]
        series = [
            (label, [find_point(parts[place], f"difference_{name}") for _, parts in parts_of])
            for place, label in enumerate(shown.values())
        ]
        chart = draw_dots(title, [label for label, _ in parts_of], series)
        yield Figure(f"controls-{name}", title, chart)
        rows = []
        for label, parts in parts_of:
            cells = [text(label), count(max(part.get("num_rows", 0) for part in parts))]
            for part in parts:
                cells += [score(part, name), score(part, f"difference_{name}", is_signed=True)]
            rows.append(cells)
        header = [cell for label in shown.values() for cell in (label, "Difference")]
        yield Table([metric["title"], "Rows", *header], rows)


def show_zero_shot(results: Results) -> Iterator[Block]:
    """Zero-shot classification beside the encoder fine-tuned on the same dataset."""
    tree = results.evaluation.get("zero_shot")
    if not tree:
        return
    scored = [(data, tree[data.card.id]) for data in results.datasets if data.card.id in tree]
    methods = [name for name in METHODS if any(name in scores for _, scores in scored)]
    tuned = {data.card.id: scores.get(OURS, {}) for data, scores in results.iterate_transfers()}
    yield Text(
        "Classification of test rows without any training on the dataset, beside the fine-tuned encoder. "
        + " ".join(f"**{name.capitalize()}** is the {METHODS[name]}." for name in methods)
        + " Scores are between 0 and 1. If rows have several classes, only AUROC is shown: it needs no threshold."
    )
    for metric in tree["metrics"]:
        name = metric["name"]
        rows = [
            [
                text(data.card.title),
                count(scores["num_rows"]),
                *(score(scores.get(method, {}), name, 3) for method in methods),
                score(tuned.get(data.card.id, {}), name, 3),
            ]
            for data, scores in scored
        ]
        yield Table([metric["title"], "Rows", *(name.capitalize() for name in methods), "Fine-tuned"], rows)


def show_calibration(results: Results) -> Iterator[Block]:
    """Confidence against accuracy of the answers to closed questions."""
    tree = results.evaluation.get("calibration")
    if not tree or not tree["num_rows"]:
        return
    title = "Confidence and accuracy of the answers to yes/no questions"
    error = format_number(tree["expected_calibration_error"], 3)
    yield Text(
        "The confidence is the probability that the model gives to the more probable of yes and no, divided by that of "
        "both; the accuracy is the share of right answers among those of like confidence. Over "
        f"{tree['num_rows']:,} yes/no questions the expected calibration error is **{error}**: the mean distance of "
        "the dots from the diagonal, weighted by rows; 0 is best."
    )
    yield Figure("calibration", title, draw_calibration(title, tree["bins"]))
    yield Heading("Bins of confidence")
    rows = []
    for each in tree["bins"]:
        bounds = f"{each['low']:.2f}\u2009–\u2009{each['high']:.2f}"
        means = (score(each, name, 3) for name in ("confidence", "accuracy"))
        rows.append([text(bounds), count(each["num_rows"]), *means])
    yield Table(["Confidence", "Rows", "Mean confidence", "Accuracy"], rows)
