"""Log-probabilities of answers are those of transformers' own loss on each whole conversation."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from openmedq import paths
from openmedq.curate import deduplicate, mix
from openmedq.evaluation import likelihood
from openmedq.evaluation.likelihood import Likelihood, Scorer
from openmedq.model import prompt
from openmedq.model.pixels import normalize
from openmedq.model.prompt import IGNORED
from openmedq.schema import Sample, Task, Turn
from openmedq.storage.shards import ShardStore
from openmedq.storage.tables import read_index
from openmedq.training.devices import Devices
from tests.curate.corpus import make_params, picture, row, write_sets
from tests.model import tiny
from tests.stages.results import encode as draw_png

pytestmark = pytest.mark.usefixtures("torch_on_one_thread")

ORGANS = ("lung", "lung and heart", "heart", "lung")
SAMPLES = {
    "letters": tiny.make_sample(Task.MULTIPLE_CHOICE, Turn("Which organ?", "heart", options=ORGANS)),
    "two images": tiny.make_sample(Task.VQA, Turn("Where?", "left", options=("left", "right")), num_images=2),
    "text": tiny.make_sample(
        Task.TEXT_QA, Turn("Does it?", "no", "It does not.", ("yes", "no", "maybe")), num_images=0
    ),
    "two turns": tiny.make_sample(
        Task.MULTIPLE_CHOICE, Turn("Is it old?", "yes"), Turn("Which organ?", "heart", options=ORGANS[:3])
    ),
    "cut": tiny.make_sample(
        Task.TEXT_QA,
        Turn("Does it?", "no", "It was not seen in any of the patients. " * 8, ("no", "not in these patients")),
        num_images=0,
    ),
}
YES_NO = tiny.make_sample(Task.VQA, Turn("Is it large?", "No."))


def score(scorer: Scorer, *samples: Sample) -> list[Likelihood]:
    rows = [scorer.encode(sample, likelihood.list_answers(sample)) for sample in samples]
    return scorer.score(rows, scorer.read_images(samples))


def compute_loss(scorer: Scorer, sample: Sample, answer: str) -> tuple[float, int]:
    """Log-probability and number of tokens of an answer, by transformers' loss on the whole conversation."""
    asked = replace(sample, turns=(*sample.turns[:-1], replace(sample.turns[-1], answer=answer)))
    tokenizer, images = scorer.processor.tokenizer, scorer.processor.image_processor
    ids, labels, _ = prompt.encode(asked, tokenizer, tiny.NUM_PATCHES, tokenizer.model_max_length)
    last = int((labels == IGNORED).nonzero()[-1])
    labels = torch.where(torch.arange(len(ids)) > last, labels, IGNORED)
    shown = {}
    if sample.images:
        shown["pixel_values"] = normalize(scorer.read_images([sample]), images.image_mean, images.image_std)
    with torch.inference_mode():
        loss = scorer.model(input_ids=ids[None], labels=labels[None], **shown).loss
    num_tokens = len(ids) - last - 1
    return -float(loss) * num_tokens, num_tokens


@pytest.mark.parametrize("name", SAMPLES)
def test_each_option_has_the_loss_of_its_whole_conversation(scorer: Scorer, name: str) -> None:
    sample = SAMPLES[name]
    (found,) = score(scorer, sample)
    expected = [compute_loss(scorer, sample, option) for option in sample.turns[-1].options]
    assert found.num_tokens == [number for _, number in expected]
    np.testing.assert_allclose(found.log_probs, [value for value, _ in expected], rtol=0, atol=1e-5)
    assert len({round(value, 3) for value in found.log_probs}) == len(set(sample.turns[-1].options))


def test_likelihoods_do_not_depend_on_the_batch(scorer: Scorer) -> None:
    samples = list(SAMPLES.values())
    alone = [score(scorer, sample)[0] for sample in samples]
    for found in (score(scorer, *samples), score(scorer, *samples[::-1])[::-1]):
        for one, other in zip(alone, found, strict=True):
            assert one.num_tokens == other.num_tokens
            np.testing.assert_allclose(one.log_probs, other.log_probs, rtol=0, atol=1e-5)


def test_few_logits_are_in_memory_together(scorer: Scorer, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = score(scorer, *SAMPLES.values())
    monkeypatch.setattr(likelihood, "CHUNK_TOKENS", 3)
    for one, other in zip(whole, score(scorer, *SAMPLES.values()), strict=True):
        np.testing.assert_allclose(one.log_probs, other.log_probs, rtol=0, atol=1e-5)


def test_what_is_asked_of_a_question() -> None:
    assert likelihood.list_answers(SAMPLES["letters"]) == ORGANS
    assert likelihood.list_answers(YES_NO) == likelihood.SPELLINGS
    assert likelihood.list_answers(tiny.make_sample()) == ()


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pa.Table:
    monkeypatch.chdir(tmp_path)
    shown = picture(7) | {"image": {"bytes": draw_png(7), "path": None}}
    rows = [
        row("vqa/open", "test", "Where is it?", "left", shown),
        row("vqa/yes", "test", "Is it large?", "Yes", shown),
        row("vqa/choice", "test", "Which organ?", "lung", shown, options=["lung", "heart"], task="multiple_choice"),
        row("vqa/text", "test", "Does it help?", "maybe", options=["yes", "no", "maybe"]),
    ]
    write_sets(rows, {"vqa": {}})
    deduplicate.run(make_params())
    mix.run(make_params())
    return read_index()


def test_columns_of_predictions(scorer: Scorer, asked: pa.Table, monkeypatch: pytest.MonkeyPatch) -> None:
    store = ShardStore(paths.SAMPLES)
    given = (scorer, store.take(asked, with_images=False), store.take(asked).__getitem__, Devices(scorer.device))
    columns = likelihood.measure(*given)
    found = dict(zip(asked["id"].to_pylist(), columns, strict=True))
    samples = {sample.id: sample for sample in store.take(asked)}
    assert found["vqa/open"] == {}
    for name in ("vqa/choice", "vqa/text"):
        expected = [compute_loss(scorer, samples[name], option) for option in samples[name].turns[-1].options]
        assert found[name]["option_num_tokens"] == [number for _, number in expected]
        np.testing.assert_allclose(found[name]["option_log_probs"], [value for value, _ in expected], rtol=0, atol=1e-5)
    losses = {answer: compute_loss(scorer, samples["vqa/yes"], answer)[0] for answer in likelihood.SPELLINGS}
    expected = [np.logaddexp(losses["yes"], losses["Yes"]), np.logaddexp(losses["no"], losses["No"])]
    np.testing.assert_allclose(found["vqa/yes"]["yes_no_log_probs"], expected, rtol=0, atol=1e-5)
    monkeypatch.setattr(likelihood, "WINDOW_ROWS", 1)
    for one, other in zip(columns, likelihood.measure(*given), strict=True):
        assert one.keys() == other.keys()
        for name in one:
            np.testing.assert_allclose(one[name], other[name], rtol=0, atol=1e-5)
