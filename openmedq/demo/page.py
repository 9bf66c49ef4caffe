"""The demo's page. Streamlit runs it again after every interaction; `python -m openmedq demo` starts it."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import PIL.Image
import streamlit as st

from openmedq import config, paths
from openmedq.config import Params
from openmedq.demo import drawing
from openmedq.demo.asking import compose, reword
from openmedq.demo.evidence import TrainingRows
from openmedq.errors import OpenMedQError
from openmedq.model import provenance
from openmedq.reporting.examples import Row, pick_predictions, shorten
from openmedq.reporting.results import read_results
from openmedq.schema import BrokenImage, Sample
from openmedq.storage.images import FORMATS, encode
from openmedq.storage.tables import INDEX

if TYPE_CHECKING:
    from openmedq.demo.replies import Model, Reply

NUM_EXAMPLES = 12
NUM_NEIGHBORS = 5
CARD_PX, SHOWN_PX, NEIGHBOR_PX = 240, 640, 160
EVALUATED, OWN, NONE = "an example of the evaluation", "own images", "no image"
SUFFIXES = sorted(suffix for suffix, name in PIL.Image.registered_extensions().items() if name in FORMATS)


def main() -> None:
    """Render the page: choose an image, ask, read the answer."""
    st.set_page_config(page_title="OpenMedQ", layout="wide")
    st.html(drawing.STYLE)
    st.title("Ask the model", anchor=False)
    params = config.load(paths.PARAMS)
    _describe_training()
    sample, row = _choose(params)
    left, right = st.columns(2, gap="large")
    with left:
        _show(sample, row)
    with right:
        asked = _ask(sample)
    if asked is not None:
        _answer(asked, row if asked == sample else None, params)
        _show_evidence(asked, params)


def _describe_training() -> None:
    tree = provenance.read(paths.MODEL)
    num_rows = sum(entry["rows"] for entry in tree["sources"].values())
    st.text(f"Trained on {num_rows:,} rows of {len(tree['sources'])} datasets. The answers are not medical advice.")
    if generated := [name for name, entry in tree["sources"].items() if entry["origin"] == "miniature"]:
        st.warning(f"{len(generated)} of these datasets are generated miniatures without medical content.")


def _choose(params: Params) -> tuple[Sample, Row | None]:
    """Return the sample to ask about and, for an example of the evaluation, its prediction."""
    examples = _read_examples(_version(paths.EVALUATION / "predictions.parquet"))
    kind = st.radio("Ask about", [EVALUATED, OWN, NONE] if examples else [OWN, NONE], horizontal=True)
    if kind != EVALUATED:
        return compose(_upload(params) if kind == OWN else []), None
    by_id = {row["id"]: (row, sample) for row, sample in examples}
    picked = st.session_state.get("picked")
    row, sample = by_id.get(picked, examples[0])
    with st.container(horizontal=True, height=340):
        for each, shown in examples:
            with st.container(border=True, width=150):
                _draw_card(each, shown, is_picked=each is row)
    return sample, row


def _draw_card(row: Row, sample: Sample, *, is_picked: bool) -> None:
    """An example: its image, and its question as a button that asks it."""
    if image := drawing.draw_images(sample.images[:1], f"Image of {row['id']}", CARD_PX, "card"):
        st.html(image)
    question = textwrap.shorten(row["question"] or f"({row['task']})", 70, placeholder="…")
    label = drawing.escape_markdown(f"{row['source']}: {question}")
    icon = ":material/check:" if is_picked else None
    picked = {"picked": row["id"], "is_asked": True}
    update = st.session_state.update
    st.button(label, f"card {row['id']}", icon=icon, on_click=update, kwargs=picked, width="stretch", wrap=True)


def _upload(params: Params) -> list[bytes]:
    """Return uploaded images, encoded as the pipeline encodes them."""
    images = []
    for file in st.file_uploader("Images", type=SUFFIXES, accept_multiple_files=True):
        try:
            images.append(encode(file.getvalue(), params.normalize).data)
        except BrokenImage as error:
            st.error(drawing.escape_markdown(f"{file.name}: {error.reason}: {error.detail}"))
    return images


def _show(sample: Sample, row: Row | None) -> None:
    name = "Your image" if row is None else f"Image of {row['id']}"
    if images := drawing.draw_images(sample.images, name, SHOWN_PX, "images"):
        st.html(images)
    if row is not None:
        place = row["provenance"]
        st.text(f"{row['id']}: {place['file']}, {place['record']}; licence {row['licence']}")


def _ask(sample: Sample) -> Sample | None:
    """Return the sample with the question of the form, when its button or an example's is pressed."""
    last = sample.turns[-1]
    with st.form(f"question about {sample.id}"):
        if last.context:
            st.text_area("Context", last.context, disabled=True)
        question = st.text_area("Question", last.question, height=68, help="empty: the model describes the image")
        listed = "\n".join(last.options)
        options = st.text_area("Options, one per line", listed, help="empty: a free answer")
        is_pressed = st.form_submit_button("Ask", type="primary")
    words = [option.strip() for option in options.splitlines() if option.strip()]
    if not st.session_state.pop("is_asked", False) and not is_pressed:
        return None
    if not (question.strip() or sample.images):
        st.error("Enter a question or choose an image.")
        return None
    return reword(sample, question, last.options if options == listed else words)


def _answer(sample: Sample, row: Row | None, params: Params) -> None:
    model = _load_model(_version(paths.MODEL), params.execution.device, params.evaluate.max_new_tokens)
    names = ["With the image", "With a gray image"] if sample.images else ["Without an image"]
    replies = dict(zip(names, model.ask(sample), strict=True))
    rows = [(name, reply.answer.text or "(empty)", _describe(reply)) for name, reply in replies.items()]
    if row is not None:
        rows.append(("Reference", row["reference"], ""))
    question = shorten(sample.turns[-1].question) or f"({sample.task})"
    st.header("Answer", anchor=False)
    st.html(drawing.draw_table(question, ("Input", "Answer", "Probability"), rows, "status"))
    if options := list(replies[names[0]].shares):
        st.header("Probability of the options", anchor=False)
        totals = (f"{name.lower()} {drawing.format_share(reply.total)}" for name, reply in replies.items())
        caption = f"Shares of the options. Probability that the model writes exactly one of them: {', '.join(totals)}."
        shares = [[name, *(drawing.draw_share(reply.shares[name]) for reply in replies.values())] for name in options]
        st.html(drawing.draw_table(caption, ("Option", *names), shares))


def _describe(reply: Reply) -> str:
    from openmedq.evaluation.generate import LENGTH  # imports torch

    answer = reply.answer
    cut = "; the prompt was too long and was shortened" if answer.is_cut else ""
    stop = f"; not ended after {answer.num_tokens} tokens" if answer.stop == LENGTH else ""
    return f"{drawing.format_share(answer.probability)}{stop}{cut}"


def _show_evidence(sample: Sample, params: Params) -> None:
    rows = _read_training_rows(_version(INDEX))
    st.header("Nearest training rows", anchor=False)
    drawn = "" if rows.num_rows == rows.num_available else f"{rows.num_rows:,} of "
    st.text(
        f"Searched: {drawn}{rows.num_available:,} training rows of open datasets. They show what the model was"
        " trained on, not which rows this answer depends on."
    )
    thumbnails = [encode(each.data, params.normalize).thumbnail for each in sample.images if each.data]
    found = {
        "Questions, by their words": rows.find_questions(sample.turns[-1].question, NUM_NEIGHBORS),
        "Images, by gray thumbnails of 32 x 32 px": rows.find_images(thumbnails, NUM_NEIGHBORS),
    }
    for column, (title, neighbors) in zip(st.columns(2, gap="large"), found.items(), strict=True):
        with column:
            st.subheader(title, anchor=False)
            if neighbors:
                st.html(drawing.draw_neighbors(neighbors, NEIGHBOR_PX))
            else:
                st.text("None.")


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
