"""Compose the report of the results and render it: as a self-contained HTML page, and as Markdown."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

import jinja2
from markupsafe import Markup, escape

from openmedq.reporting.charts import make_standalone
from openmedq.reporting.document import Block, Document, Examples, Figure, Headline, Pairs, Section, Text, score
from openmedq.reporting.examples import Example, Pair, Shown
from openmedq.reporting.published import ENCODERS, NUM_SOURCES
from openmedq.reporting.results import Results
from openmedq.reporting.sections import answers, contamination, cost, data, probes, transfer
from openmedq.schema import Role


def make_environment() -> jinja2.Environment:
    """Return the environment of this package's pages; they share their style with the validation page."""
    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader([jinja2.PackageLoader(f"openmedq.{name}") for name in ("reporting", "curate")]),
        autoescape=lambda name: name is None or ".html" in name,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(inline=_render_inline, md=escape_markdown)
    return environment


def compose(results: Results, examples: Sequence[Example], pairs: Sequence[Pair] = ()) -> Document:
    """Select and order the content of the report."""
    sections = (
        ("scores", "Answers to the evaluation splits", answers.show_scores(results)),
        ("controls", "Controls without the image", probes.show_controls(results)),
        ("contamination", "Contamination", contamination.show_contamination(results, pairs)),
        ("clean", "Clean rows", answers.show_clean(results)),
        ("definitions", "BLEU-1 by definition", answers.show_definitions(results)),
        ("paper", "Comparison with the paper", answers.show_paper(results)),
        ("groups", "By question type, organ and modality", answers.show_groups(results)),
        ("calibration", "Calibration of closed answers", probes.show_calibration(results)),
        ("transfer", "Transfer of the encoder", transfer.show_transfer(results)),
        ("zero-shot", "Zero-shot classification", probes.show_zero_shot(results)),
        ("examples", "Predictions", _show_examples(examples)),
        ("waterfall", "From the published files to the mix", data.show_waterfall(results)),
        ("cost", "Cost", cost.show_cost(results)),
        ("missing", "What was not run", data.show_missing(results)),
    )
    composed = [Section(name, title, list(blocks)) for name, title, blocks in sections]
    origins = [each.origin for each in results.sources if each.is_present]
    num_own = origins.count("local")
    own = f" and {num_own} of your own" if num_own else ""
    num_rows = {role.value: sum(each.outcomes[role.value] for each in results.sources) for role in Role}
    return Document(
        lead="Broad open pretraining for medical vision-language models. This run uses "
        f"{len(origins) - num_own} of the paper’s {NUM_SOURCES} sources{own}: {num_rows['train']:,} rows for training, "
        f"{num_rows['validation']:,} for validation, {num_rows['evaluation']:,} for evaluation.",
        notice=_warn_of_miniatures(results),
        headlines=[*_answer_headlines(results), *_transfer_headlines(results)],
        sections=[section for section in composed if section.blocks],
    )


def render_html(document: Document) -> str:
    """Render the document as one HTML page that loads no other file."""
    return make_environment().get_template("report.html.j2").render(document=document)


def render_markdown(document: Document) -> str:
    """Render the document as Markdown, which shows the images of `render_images`."""
    text = make_environment().get_template("report.md.j2").render(document=document)
    return re.sub(r"\n{3,}", "\n\n", text)


def render_description(document: Document) -> str:
    """Render the head of the report for MLflow, which shows the first line alone until a person expands it."""
    scores = [f"{each.title} **{each.value.text}** ({each.value.note or 'no interval'})" for each in document.headlines]
    _title, _, text = render_markdown(replace(document, sections=())).partition("\n")
    return f"{' · '.join(scores)}\n\n{text.strip()}\n".lstrip()


def render_images(document: Document) -> Iterator[tuple[str, bytes]]:
    """The files that the Markdown shows: (path, content), charts for light and dark pages and images of records."""
    for figure in document.find(Figure):
        yield f"figures/{figure.file}.svg", make_standalone(figure.svg).encode()
    shown: dict[str, Shown] = {}
    for examples in document.find(Examples):
        shown |= {f"example-{place}": example for place, example in enumerate(examples.examples, start=1)}
    for pairs in document.find(Pairs):
        for place, pair in enumerate(pairs.pairs, start=1):
            shown |= {f"pair-{place}-evaluation": pair.evaluation, f"pair-{place}-training": pair.training}
    for name, each in shown.items():
        for number, image in enumerate(each.images, start=1):
            yield f"figures/{name}-{number}.jpg", image


def _show_examples(examples: Sequence[Example]) -> Iterator[Block]:
    if examples:
        yield Text(
            "Right and wrong answers alternate. They are picked by their position in the file, from open sources only."
        )
        yield Examples(sorted(examples, key=lambda example: not example.images))


def _warn_of_miniatures(results: Results) -> str:
    titles = [each.card.title for each in results.datasets if each.is_miniature]
    if not titles:
        return ""
    is_all = len(titles) == sum(each.is_present for each in results.datasets)
    generated = f"all {len(titles)} datasets" if is_all else ", ".join(titles)
    return (
        f"**These are scores on generated miniatures.** The pipeline generated {generated} in the layout of "
        "the published files. The scores show that every step works and that a small model learns from images. They "
        "are no evidence about medicine and not comparable with any published figure."
    )


def _answer_headlines(results: Results) -> Iterator[Headline]:
    overall = results.evaluation.get("all", {"num_rows": 0})
    for metric in results.metrics:
        if not metric["is_headline"] or not overall["num_rows"]:
            continue
        name, title = metric["name"], metric["title"]
        parts = [(title, overall)]
        if f"{name}_low" in overall.get("clean", {}):  # a few rows on one image are no headline
            parts.append((f"{title}, clean rows", overall["clean"]))
        for shown, scores in parts if metric["has_baseline"] else parts[:1]:
            notes = [f"{scores['num_rows']:,} answers"]
            if metric["has_baseline"]:
                notes.append(f"majority baseline {scores['baseline_' + name]:.1f}")
            yield Headline(shown, score(scores, name), notes)


def _transfer_headlines(results: Results) -> Iterator[Headline]:
    transfers = list(results.iterate_transfers())
    for metric in results.transfer_metrics if transfers else ():
        if not metric["is_headline"]:
            continue
        data, scores = transfers[0]
        title, scores = (data.card.title, scores) if len(transfers) == 1 else ("mean", results.transfer["mean"])
        ours, *others = results.encoders
        notes = [f"{ENCODERS.get(encoder, encoder)} {scores[encoder][metric['name']]:.3f}" for encoder in others]
        yield Headline(f"{metric['title']}, {title}", score(scores[ours], metric["name"], 3), notes)


def _render_inline(text: str) -> Markup:
    """Escape a text of ours and render its inline markup."""
    marked = re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text)))
    return Markup(re.sub(r"\*\*([^*]+)\*\*", r"<strong>\1</strong>", marked))


def escape_markdown(text: str) -> str:
    """Escape a text that may hold anything, for a cell of a table or a list."""
    return re.sub(r"([\\`*_{}\[\]<>#|~&])", r"\\\1", " ".join(text.split()))
