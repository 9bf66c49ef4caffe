"""The miniature profile really learns: from what the pictures show, and from nothing else."""

import io
import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from openmedq import encoders, params
from openmedq.layout import CONF
from openmedq.schema import Image, Sample
from openmedq.sources import vqa_rad
from openmedq.vlm import generation, prompt, training
from openmedq.vlm import model as models
from openmedq.vlm.samples import EncodedSamples

ROOT = Path(__file__).parents[2]
NUM_STEPS = 240  # VQA-RAD alone; the profile takes more, for the whole mix
POINTS_ABOVE = 25
POINTS_AROUND = 5


def _draw(raw: Path, seed: int) -> tuple[list[Sample], list[Sample]]:
    """Training questions, and evaluation questions whose pictures no training question shows."""
    vqa_rad.miniature(raw, seed)
    samples = [sample for sample in vqa_rad.read(raw) if isinstance(sample, Sample)]
    trained = [sample for sample in samples if sample.split == "train"]
    shown = {sample.images[0].image_id for sample in trained}
    return trained, [sample for sample in samples if sample.split == "test" and sample.images[0].image_id not in shown]


def _exact_match(answers: Iterable[str], samples: Sequence[Sample]) -> float:
    """Percent."""
    return 100 * float(np.mean([a == s.turns[0].answer for a, s in zip(answers, samples, strict=True)]))


def _baseline(trained: Sequence[Sample], asked: Sequence[Sample]) -> float:
    """Exact match, percent, of the answer that training gives a question most often."""
    answers: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for sample in trained:
        answers[sample.turns[0].question][sample.turns[0].answer] += 1
    return _exact_match((answers[sample.turns[0].question].most_common(1)[0][0] for sample in asked), asked)


def _with_images(samples: Sequence[Sample], images: Iterable[Image]) -> list[Sample]:
    return [replace(sample, images=(image,)) for sample, image in zip(samples, images, strict=True)]


def _blank(gray: int) -> Image:
    file = io.BytesIO()
    PIL.Image.new("L", (96, 96), gray).save(file, "PNG")
    return Image("blank.png", data=file.getvalue())


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_it_answers_what_it_sees_on_new_pictures_and_guesses_where_it_can_not_see(seed: int, tmp_path: Path) -> None:
    trained, asked = _draw(tmp_path / "raw", seed)
    dials = params.profile(ROOT / CONF, "miniature").train.model_copy(update={"seed": seed, "max_steps": NUM_STEPS})
    accelerator = training.start(dials, "cpu")
    texts = (f"{prompt.request(s.task, s.turns[0])}\nAnswer: {prompt.respond(s.task, s.turns[0])}" for s in trained)
    model, processor = models.build(dials, texts)
    dataset = EncodedSamples(trained, processor, encoders.count_patches(dials.vision), dials.max_tokens)
    training.train(model, dataset, np.ones(len(trained), np.float32), dials, accelerator, 0, lambda metrics, step: None)
    models.save(model, processor, tmp_path / "model")
    answer = generation.load_answerer(tmp_path / "model", device="cpu", max_new_tokens=8, batch_size=144)

    baseline = _baseline(trained, asked)
    assert _exact_match(answer(asked), asked) >= baseline + POINTS_ABOVE
    blanked = _with_images(asked, [_blank(128)] * len(asked))
    assert abs(_exact_match(answer(blanked), asked) - baseline) <= POINTS_AROUND
    images = [sample.images[0] for sample in asked]
    random.Random(seed).shuffle(images)
    assert abs(_exact_match(answer(_with_images(asked, images)), asked) - baseline) <= POINTS_AROUND
