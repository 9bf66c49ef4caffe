"""The demo's page. Streamlit runs it again after every interaction; `python -m openmedq demo` starts it."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import streamlit as st

from openmedq import config, paths
from openmedq.config import Params
from openmedq.demo.asking import blacken, compose, reword
from openmedq.errors import OpenMedQError
from openmedq.model import provenance
from openmedq.reporting.examples import Row, pick_predictions
from openmedq.reporting.results import read_results
from openmedq.schema import Sample
from openmedq.storage.images import FORMATS, BrokenImage, encode

if TYPE_CHECKING:
    from openmedq.evaluation.generate import Answerer

NUM_EXAMPLES = 24
EVALUATED, OWN, NONE = "a record of the evaluation", "own images", "no image"
SUFFIXES = sorted({*(name.lower() for name in FORMATS), "jpg", "tif"})


def main() -> None:
    """Render the page: choose an image, ask, read the answer."""
    st.set_page_config(page_title="OpenMedQ", layout="wide")
    st.title("Ask the model")
    params = config.load(paths.PARAMS)
    _describe_training()
    left, right = st.columns(2, gap="large")
    with left:
        sample, row = _choose(params)
    with right:
        asked = _ask(sample)
        if asked is not None:
            _answer(asked, row if asked == sample else None, params)


def _describe_training() -> None:
    tree = provenance.read(paths.MODEL)
    num_rows = sum(entry["rows"] for entry in tree["sources"].values())
    st.caption(f"Trained on {num_rows:,} rows of {len(tree['sources'])} datasets. The answers are not medical advice.")
    if generated := [name for name, entry in tree["sources"].items() if entry["origin"] == "miniature"]:
        st.warning(f"{len(generated)} of these datasets are generated miniatures without medical content.")


def _choose(params: Params) -> tuple[Sample, Row | None]:
    """Return the sample to ask about and, for a record of the evaluation, its prediction."""
    examples = _read_examples(_version(paths.EVALUATION / "predictions.parquet"))
    kind = st.radio("About", [EVALUATED, OWN, NONE] if examples else [OWN, NONE], horizontal=True)
    row = None
    if kind == EVALUATED:
        row, sample = st.selectbox("Record", examples, format_func=_label)
    else:
        sample = compose(_upload(params) if kind == OWN else [])
    if sample.images:
        st.image([image.data for image in sample.images if image.data], width=280)
    if row is not None:
        st.text(f"{row['source']}: {row['provenance']['file']}, {row['provenance']['record']}; {row['licence']}")
    return sample, row


def _label(example: tuple[Row, Sample]) -> str:
    row, _ = example
    return f"{row['id']}: {textwrap.shorten(row['question'] or row['task'], 60, placeholder='…')}"


def _upload(params: Params) -> list[bytes]:
    """Return uploaded images, encoded as the pipeline encodes them."""
    images = []
    for file in st.file_uploader("Images", type=SUFFIXES, accept_multiple_files=True):
        try:
            images.append(encode(file.getvalue(), params.normalize).data)
        except BrokenImage as error:
            st.error(f"{file.name}: {error.reason}: {error.detail}")
    return images


def _ask(sample: Sample) -> Sample | None:
    """Return the sample with the question of the form, when the button is pressed."""
    last = sample.turns[-1]
    with st.form(f"question about {sample.id}"):
        if last.context:
            st.text_area("Context", last.context, disabled=True)
        question = st.text_area("Question", last.question, height=68, help="empty: the model describes the image")
        listed = "\n".join(last.options)
        options = st.text_area("Options, one per line", listed, help="empty: a free answer")
        is_pressed = st.form_submit_button("Ask", type="primary")
    words = [option.strip() for option in options.splitlines() if option.strip()]
    if not is_pressed:
        return None
    if not (question.strip() or sample.images):
        st.error("Enter a question or choose an image.")
        return None
    return reword(sample, question, last.options if options == listed else words)


def _answer(sample: Sample, row: Row | None, params: Params) -> None:
    answerer = _load_answerer(_version(paths.MODEL), params.execution.device, params.evaluate.max_new_tokens)
    answer, *blind = (each.text for each in answerer([sample, blacken(sample)] if sample.images else [sample]))
    texts = {"Answer of the model": answer}
    if blind:
        texts["Answer to a black image"] = blind[0]
    if row is not None:
        texts["Reference"] = row["reference"]
    for title, text in texts.items():
        st.caption(title)
        st.text(text or "(empty)")  # not as Markdown, which could load images of other sites


@st.cache_data(max_entries=1)
def _read_examples(version: int | None) -> list[tuple[Row, Sample]]:
    """Return predictions with their records, of open sources only, those with images first."""
    examples = pick_predictions(read_results().open_sources, NUM_EXAMPLES)
    return sorted(examples, key=lambda example: not example[1].images)


@st.cache_resource(max_entries=1, show_spinner="loading the model")
def _load_answerer(version: int | None, device: str, max_new_tokens: int) -> Answerer:
    """Load the trained model; a new version replaces it."""
    from openmedq.evaluation.generate import load_answerer  # imports torch: the page is shown before

    return load_answerer(paths.MODEL, device=device, max_new_tokens=max_new_tokens, batch_size=2)


def _version(path: Path) -> int | None:
    return path.stat().st_mtime_ns if path.exists() else None


if __name__ == "__main__":
    try:
        main()
    except OpenMedQError as error:
        st.error(str(error))
