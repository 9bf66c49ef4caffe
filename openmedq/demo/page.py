"""The demo's page. Streamlit runs it again after every interaction; `python -m openmedq demo` starts it."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import PIL.Image
import streamlit as st

from openmedq import config, paths
from openmedq.config import Params
from openmedq.demo import drawing
from openmedq.demo.evidence import TrainingRows
from openmedq.errors import OpenMedQError
from openmedq.model import provenance
from openmedq.reporting.examples import Row, pick_predictions, shorten
from openmedq.reporting.results import read_results
from openmedq.schema import BrokenImage, Image, Provenance, Sample, Task, Turn
from openmedq.storage.images import FORMATS, encode
from openmedq.storage.tables import INDEX

if TYPE_CHECKING:
    from openmedq.demo.replies import Model

NUM_EXAMPLES = 12
NUM_NEIGHBORS = 5
CARD_PX, SHOWN_PX, NEIGHBOR_PX = 240, 640, 160
KINDS = ("an example of the evaluation", "own images, or none")
OWN = "own"  # takes the place of the source's name
SUFFIXES = sorted(suffix for suffix, name in PIL.Image.registered_extensions().items() if name in FORMATS)


def main() -> None:
    """Render the page: choose an image, ask, read the answer."""
    st.set_page_config(page_title="OpenMedQ", layout="wide")
    st.html(drawing.STYLE)
    st.title("Ask the model", anchor=False)
    params = config.load(paths.PARAMS)
    trained = provenance.read(paths.MODEL)["sources"].values()
    num_rows = sum(source["rows"] for source in trained)
    st.text(f"Trained on {num_rows:,} rows of {len(trained)} datasets. The answers are not medical advice.")
    if num_generated := sum(source["origin"] == "miniature" for source in trained):
        st.warning(f"{num_generated} of these datasets are generated miniatures without medical content.")
    examples = _read_examples(_version(paths.EVALUATION / "predictions.parquet"))
    is_own = not examples or st.radio("Ask about", KINDS, horizontal=True) != KINDS[0]
    row, sample = (None, _upload(params)) if is_own else _pick(examples)
    left, right = st.columns(2, gap="large")
    with left:
        name = f"Image of {row['id']}" if row else "Your image"
        st.html(f'<div class="oq">{drawing.draw_images(sample.images, name, SHOWN_PX)}</div>')
        if row is not None:
            place = row["provenance"]
            st.text(f"{row['id']}: {place['file']}, {place['record']}; licence {row['licence']}")
    with right:
        asked = _ask(sample)
    if asked is not None:
        _answer(asked, row if asked == sample else None, params)
        _show_evidence(asked, params)


def _pick(examples: Sequence[tuple[Row, Sample]]) -> tuple[Row, Sample]:
    """Draw the examples, each with its question as a button that asks it; return the one that was clicked last."""
    picked = st.session_state.get("picked", examples[0][0]["id"])
    with st.container(horizontal=True, height=340):
        for row, sample in examples:
            with st.container(border=True, width=150):
                if image := drawing.draw_images(sample.images[:1], f"Image of {row['id']}", CARD_PX):
                    st.html(f'<div class="oq card">{image}</div>')
                question = textwrap.shorten(row["question"] or f"({row['task']})", 70, placeholder="…")
                label = drawing.escape_markdown(f"{row['source']}: {question}")
                icon = ":material/check:" if row["id"] == picked else None
                ask = partial(st.session_state.update, picked=row["id"], is_asked=True)
                st.button(label, f"card {row['id']}", icon=icon, on_click=ask, width="stretch", wrap=True)
    return next((example for example in examples if example[0]["id"] == picked), examples[0])


def _upload(params: Params) -> Sample:
    """Return a sample of uploaded images, encoded as the pipeline encodes them, without a question."""
    images = []
    for file in st.file_uploader("Images, or none", type=SUFFIXES, accept_multiple_files=True):
        try:
            images.append(Image(file.name, data=encode(file.getvalue(), params.normalize).data))
        except BrokenImage as error:
            st.error(drawing.escape_markdown(f"{file.name}: {error.reason}: {error.detail}"))
    return Sample(OWN, OWN, OWN, Task.VQA, "mixed", "", Provenance(OWN, ""), (Turn("", ""),), tuple(images))


def _ask(sample: Sample) -> Sample | None:
    """Return the sample with the question of the form, when its button or an example's is pressed."""
    *earlier, last = sample.turns
    with st.form(f"question about {sample.id}"):
        if last.context:
            st.text_area("Context", last.context, disabled=True)
        question = st.text_area("Question", last.question, height=68, help="empty: the model describes the image")
        listed = "\n".join(last.options)
        options = st.text_area("Options, one per line", listed, help="empty: a free answer")
        is_pressed = st.form_submit_button("Ask", type="primary")
    if not (st.session_state.pop("is_asked", False) or is_pressed):
        return None
    if not (question.strip() or sample.images):
        st.error("Enter a question or choose an image.")
        return None
    if options != listed:
        last = replace(last, options=tuple(filter(None, map(str.strip, options.splitlines()))))
    task = Task.MULTIPLE_CHOICE if sample.source == OWN and last.options else sample.task
    return replace(sample, turns=(*earlier, replace(last, question=question)), task=task)


def _answer(sample: Sample, row: Row | None, params: Params) -> None:
    model = _load_model(_version(paths.MODEL), params.execution.device, params.evaluate.max_new_tokens)
    names = ["With the image", "With a gray image"] if sample.images else ["Without an image"]
    replies = dict(zip(names, model.ask(sample), strict=True))
    rows = [(name, reply.answer.text or "(empty)", reply.describe()) for name, reply in replies.items()]
    if row is not None:
        rows.append(("Reference", row["reference"], ""))
    question = shorten(sample.turns[-1].question) or f"({sample.task})"
    st.header("Answer", anchor=False)
    st.html(drawing.draw_table(question, ("Input", "Answer", "Probability"), rows, "status"))
    if options := list(replies[names[0]].shares):
        st.header("Probability of the options", anchor=False)
        totals = (f"{name.lower()} {reply.total:.1%}" for name, reply in replies.items())
        caption = f"Shares of the options. Probability that the model writes exactly one of them: {', '.join(totals)}."
        shares = [[name, *(drawing.draw_share(reply.shares[name]) for reply in replies.values())] for name in options]
        st.html(drawing.draw_table(caption, ("Option", *names), shares))


def _show_evidence(sample: Sample, params: Params) -> None:
    rows = _read_training_rows(_version(INDEX))
    st.header("Nearest training rows", anchor=False)
    searched = f"Searched: {rows.num_rows:,} of {rows.num_available:,} training rows of open datasets."
    st.text(f"{searched} They show what the model was trained on, not which rows this answer depends on.")
    thumbnails = [encode(each.data, params.normalize).thumbnail for each in sample.images if each.data]
    questions = rows.find_questions(sample.turns[-1].question, NUM_NEIGHBORS)
    images = rows.find_images(thumbnails, NUM_NEIGHBORS)
    left, right = st.columns(2, gap="large")
    left.html(drawing.draw_neighbors("Questions, by their words", questions, NEIGHBOR_PX))
    right.html(drawing.draw_neighbors("Images, by gray thumbnails of 32 x 32 px", images, NEIGHBOR_PX))


@st.cache_data(max_entries=1, show_spinner="reading examples")
def _read_examples(version: int | None) -> list[tuple[Row, Sample]]:
    """Return predictions with their records, of open sources only, those with images first."""
    examples = pick_predictions(read_results().open_sources, NUM_EXAMPLES)
    return sorted(examples, key=lambda example: not example[1].images)


@st.cache_resource(max_entries=1, show_spinner="loading the model")
def _load_model(version: int | None, device: str, max_new_tokens: int) -> Model:
    """Load the trained model; a new version replaces it."""
    from openmedq.demo.replies import Model  # imports torch: the page is shown before

    return Model(device, max_new_tokens)


@st.cache_resource(max_entries=1, show_spinner="reading training rows")
def _read_training_rows(version: int | None) -> TrainingRows:
    return TrainingRows(read_results().open_sources)


def _version(path: Path) -> int | None:
    return path.stat().st_mtime_ns if path.exists() else None


if __name__ == "__main__":
    try:
        main()
    except OpenMedQError as error:
        st.error(str(error))
