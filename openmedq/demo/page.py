"""The page itself, which Streamlit runs anew at every click. `python -m openmedq demo` starts it."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import streamlit as st

from openmedq import config as params_module
from openmedq import paths
from openmedq.config import Params
from openmedq.demo.asking import blacken, compose, reword
from openmedq.errors import OpenMedQError
from openmedq.model import training_data
from openmedq.reporting.examples import Row, pick_predictions
from openmedq.reporting.results import read_results
from openmedq.schema import Sample
from openmedq.storage.images import FORMATS, BrokenPicture, encode

if TYPE_CHECKING:
    from openmedq.evaluation.generate import Answerer

NUM_EXAMPLES = 24
ASKED, OWN, NONE = "what the evaluation asked", "pictures of mine", "no picture"


def main() -> None:
    """Choose a picture, ask, read the answer."""
    st.set_page_config(page_title="OpenMedQ", layout="wide")
    st.title("Ask the model")
    params = params_module.load(paths.PARAMS)
    _say_what_it_is()
    left, right = st.columns(2, gap="large")
    with left:
        sample, row = _choose(params)
    with right:
        asked = _ask(sample)
        if asked is not None:
            _answer(asked, row if asked == sample else None, params)


def _say_what_it_is() -> None:
    tree = training_data.read(paths.MODEL)
    num_rows = sum(facts["rows"] for facts in tree["sources"].values())
    st.caption(f"Trained on {num_rows:,} rows of {len(tree['sources'])} sets. No answer is medical advice.")
    if generated := [name for name, facts in tree["sources"].items() if facts["origin"] == "miniature"]:
        st.warning(f"Its answers say nothing about medicine: {len(generated)} of these sets are generated miniatures.")


def _choose(params: Params) -> tuple[Sample, Row | None]:
    """The sample to ask about, and what is known of it where it was asked in the evaluation."""
    examples = _read_examples(_version(paths.EVALUATION / "predictions.parquet"))
    kind = st.radio("About", [ASKED, OWN, NONE] if examples else [OWN, NONE], horizontal=True)
    if kind == ASKED:
        row, sample = st.selectbox("Record", examples, format_func=_label)
        _show(sample)
        st.text(f"{row['source']}: {row['provenance']['file']}, {row['provenance']['record']}; {row['licence']}")
        return sample, row
    pictures = _upload(params) if kind == OWN else []
    sample = compose(pictures)
    _show(sample)
    return sample, None


def _label(example: tuple[Row, Sample]) -> str:
    row, _ = example
    return f"{row['id']}: {textwrap.shorten(row['question'] or row['task'], 60, placeholder='…')}"


def _upload(params: Params) -> list[bytes]:
    """Uploaded pictures, decoded and encoded as the pipeline does it."""
    pictures = []
    for file in st.file_uploader("Pictures", type=_SUFFIXES, accept_multiple_files=True):
        try:
            pictures.append(encode(file.getvalue(), params.normalize).data)
        except BrokenPicture as error:
            st.error(f"{file.name}: {error.reason}: {error.detail}")
    return pictures


_SUFFIXES = sorted({*(name.lower() for name in FORMATS), "jpg", "tif"})


def _show(sample: Sample) -> None:
    if sample.images:
        st.image([image.data for image in sample.images if image.data], width=280)


def _ask(sample: Sample) -> Sample | None:
    """The sample with the question as it stands when the button is pressed."""
    last = sample.turns[-1]
    with st.form(f"question about {sample.id}"):
        if last.context:
            st.text_area("Context", last.context, disabled=True)
        question = st.text_area("Question", last.question, height=68, help="empty: the picture is described")
        listed = "\n".join(last.options)
        options = st.text_area("Options, one a line", listed, help="empty: a free answer")
        is_pressed = st.form_submit_button("Ask", type="primary")
    words = [option.strip() for option in options.splitlines() if option.strip()]
    if not is_pressed:
        return None
    if not (question.strip() or sample.images):
        st.error("Ask something, or choose a picture.")
        return None
    return reword(sample, question, last.options if options == listed else words)


def _answer(sample: Sample, row: Row | None, params: Params) -> None:
    answerer = _load_answerer(_version(paths.MODEL), params.execution.device, params.evaluate.max_new_tokens)
    asked = [sample, blacken(sample)] if sample.images else [sample]
    answer, *unseen = answerer(asked)
    said = {"The model answers": answer}
    if unseen:
        said["On a black picture"] = unseen[0]
    if row is not None:
        said["The record says"] = row["reference"]
    for title, text in said.items():
        st.caption(title)
        st.text(text or "(nothing)")  # words from outside are no Markdown: it could show pictures from elsewhere


@st.cache_data(max_entries=1)
def _read_examples(version: int | None) -> list[tuple[Row, Sample]]:
    """Predictions with their records, of sources that anyone may see, those with pictures first."""
    examples = pick_predictions(read_results().open_sources, NUM_EXAMPLES)
    return sorted(examples, key=lambda example: not example[1].images)


@st.cache_resource(max_entries=1, show_spinner="loading the model")
def _load_answerer(version: int | None, device: str, max_new_tokens: int) -> Answerer:
    """The trained model; loaded again when it is trained again."""
    from openmedq.evaluation.generate import load_answerer  # with torch: the page is there before it

    return load_answerer(paths.MODEL, device=device, max_new_tokens=max_new_tokens, batch_size=2)


def _version(path: Path) -> int | None:
    return path.stat().st_mtime_ns if path.exists() else None


if __name__ == "__main__":
    try:
        main()
    except OpenMedQError as error:
        st.error(str(error))
