"""Answers of a tiny model: equal to those of `generate()`, whatever the batches, with their probabilities."""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from openmedq.evaluation import generate
from openmedq.evaluation.generate import END, LENGTH, Answer, divide, make_answerer
from openmedq.model import model as models
from openmedq.model.batch import Batch, collate
from openmedq.model.prompt import encode_prompt
from openmedq.schema import Image, Sample, Task, Turn
from tests.model import tiny

pytestmark = pytest.mark.usefixtures("torch_on_one_thread")

NUM_TOKENS = 6
QUESTIONS = ("Where is the mass?", "Is it there?", "Does the mass help the lung in the left upper organ? " * 6)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    model, processor = models.build(tiny.make_settings(), tiny.texts())
    tiny.shake(model)
    model.eval()
    ids, batch = encode(tiny.SAMPLES[0], processor)
    options = {"max_new_tokens": NUM_TOKENS, "do_sample": False}
    written = model.generate(**batch.inputs(processor.image_processor), **options)[0, len(ids) :]
    head = model.get_base_model().lm_head.weight
    with torch.no_grad():  # the end in place of another token, so that some answers end
        head[processor.tokenizer.eos_token_id] = 1.01 * head[written[2]]
    path = tmp_path_factory.mktemp("saved") / "model"
    models.save(model, processor, path)
    return path


@pytest.fixture(scope="module")
def samples() -> list[Sample]:
    """Questions of several lengths, with no, one and two images, of which the longest has to be cut."""
    asked = [
        tiny.make_sample(Task.VQA, Turn(question, ""), num_images=number, name=f"{place}-{number}")
        for place, question in enumerate(QUESTIONS)
        for number in (0, 1, 2)
    ]
    return [*asked, *tiny.SAMPLES]


def answer(folder: Path, samples: list[Sample], batch_size: int, max_new_tokens: int = NUM_TOKENS) -> list[Answer]:
    return list(make_answerer(*models.load(folder), max_new_tokens=max_new_tokens, batch_size=batch_size)(samples))


@pytest.fixture(scope="module")
def answers(folder: Path, samples: list[Sample]) -> list[Answer]:
    return answer(folder, samples, 4)


def test_they_and_their_probabilities_are_those_of_generate(
    folder: Path, samples: list[Sample], answers: list[Answer]
) -> None:
    assert {each.stop for each in answers} == {END, LENGTH} and len({each.text for each in answers}) > 3
    model, processor = models.load(folder)
    end = processor.tokenizer.eos_token_id
    for sample, given in zip(samples, answers, strict=True):
        ids, batch = encode(sample, processor)
        inputs = batch.inputs(processor.image_processor)
        written = model.generate(**inputs, max_new_tokens=NUM_TOKENS, do_sample=False)[0, len(ids) :]
        assert given.text == generate.read_answer(processor.tokenizer.decode(written, skip_special_tokens=True), sample)
        expected = (END, len(written) - 1) if end in written else (LENGTH, NUM_TOKENS)
        assert (given.stop, given.num_tokens) == expected
        whole = torch.cat([ids, written])[None]
        with torch.no_grad():
            logits = model(**inputs | {"input_ids": whole, "attention_mask": torch.ones_like(whole)}).logits[0].double()
        log_probs = logits[len(ids) - 1 : -1].log_softmax(-1).gather(1, written[:, None])
        assert given.probability == pytest.approx(float(log_probs.sum().exp()), rel=1e-4)


def encode(sample: Sample, processor: Any) -> tuple[torch.Tensor, Any]:
    tokenizer = processor.tokenizer
    ids = encode_prompt(sample, tokenizer, tiny.NUM_PATCHES, tokenizer.model_max_length)[0]
    pixels = [generate.decode(image, tiny.SIDE_PX, 3) for image in sample.images]
    return ids, collate([ids], pixels, pad_id=tokenizer.pad_token_id)


@pytest.mark.parametrize("batch_size", [1, 3])
def test_they_do_not_depend_on_the_batch_size(
    batch_size: int, folder: Path, samples: list[Sample], answers: list[Answer]
) -> None:
    check_equal(answer(folder, samples, batch_size), answers)


def check_equal(one: list[Answer], other: list[Answer]) -> None:
    for mine, wanted in zip(one, other, strict=True):
        assert mine._replace(probability=0) == wanted._replace(probability=0)
        assert mine.probability == pytest.approx(wanted.probability, rel=1e-4)


def test_a_prompt_that_does_not_fit_is_marked(samples: list[Sample], answers: list[Answer]) -> None:
    cut = {sample.id for sample, given in zip(samples, answers, strict=True) if given.is_cut}
    assert cut == {"tiny/2-0", "tiny/2-1", "tiny/2-2"}


def test_rows_are_read_a_window_ahead_and_not_further(folder: Path, samples: list[Sample]) -> None:
    read: list[Sample] = []
    size = generate.count_window_rows(1)

    def watch() -> Iterator[Sample]:
        for _ in range(5 * size):
            read.append(samples[1])
            yield samples[1]

    answerer = make_answerer(*models.load(folder), max_new_tokens=1, batch_size=1)
    given = answerer(watch())
    next(given)
    assert len(read) <= 2 * size
    assert len(list(given)) == 5 * size - 1


def test_equal_images_are_decoded_and_encoded_once(
    folder: Path, samples: list[Sample], answers: list[Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[str] = []
    encoded: list[int] = []
    decode, normalize = generate.decode, Batch.inputs

    def count_decoded(image: Image, *rest: Any) -> Any:
        decoded.append(image.image_id)
        return decode(image, *rest)

    def count_encoded(self: Batch, *rest: Any) -> Any:
        encoded.append(len(self.pixels))
        return normalize(self, *rest)

    monkeypatch.setattr(generate, "decode", count_decoded)
    monkeypatch.setattr(Batch, "inputs", count_encoded)
    check_equal(answer(folder, samples, 100), answers)
    assert (sorted(decoded), encoded) == (["image-0", "image-1"], [2])


@pytest.mark.parametrize("max_tokens", [1, 20, 55, 10**6])
def test_batches_hold_rows_of_like_length_within_the_limit(max_tokens: int) -> None:
    lengths = [5, 9, 20, 1, 5, 20, 7]
    batches = divide(lengths, max_tokens)
    assert sorted(place for batch in batches for place in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(lengths[place] for place in batch) <= max_tokens
    flat = [lengths[place] for batch in batches for place in batch]
    assert flat == sorted(lengths, reverse=True)
    for batch, following in itertools.pairwise(batches):  # no batch is smaller than it may be
        longest = max(lengths[place] for place in batch)
        assert (len(batch) + 1) * longest > max_tokens and lengths[following[0]] <= longest
