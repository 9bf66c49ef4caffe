"""The profile `miniature` learns: its answers to new images depend on the image."""

import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import PIL.Image
import pytest

from openmedq import config, paths, synthetic
from openmedq.datasets import vqa_rad
from openmedq.evaluation.generate import make_answerer
from openmedq.model import model as models
from openmedq.schema import Image, Sample
from tests.evaluation.metrics import scoring as metrics
from tests.model import tiny
from tests.storage.drawing import save

pytestmark = pytest.mark.usefixtures("torch_on_one_thread")

ROOT = Path(__file__).parents[2]
SEED = 0
BLANK = Image("blank", data=save(PIL.Image.new("L", (96, 96), 128), "PNG"))
NUM_UPDATES = 160  # fewer than in the profile: there is one source


def _draw(folder: Path) -> list[Sample]:
    synthetic.write("vqa_rad", folder, SEED)
    samples = [sample for sample in vqa_rad.read(folder) if isinstance(sample, Sample)]
    return [replace(sample, images=tuple(_load(image) for image in sample.images)) for sample in samples]


def _load(image: Image) -> Image:
    return image if image.data is not None else Image(image.image_id, data=(image.path or Path()).read_bytes())


def _train(samples: Sequence[Sample], folder: Path) -> Callable[[Sequence[Sample]], Iterator[str]]:
    """Train with the profile's settings, save, and load the saved model."""
    profile = config.profile(ROOT / paths.CONF, "miniature")
    settings = profile.train.model_copy(update={"seed": SEED, "max_steps": NUM_UPDATES})
    model, processor = models.build(settings, tiny.texts(samples))
    checkpoints = folder.with_name("checkpoints")
    tiny.make_trainer(model, processor, checkpoints, samples=samples, settings=settings).train()
    models.save(model, processor, folder)
    answer = make_answerer(*models.load(folder), max_new_tokens=profile.evaluate.max_new_tokens, batch_size=64)
    return lambda asked: (each.text for each in answer(asked))


@pytest.mark.slow
def test_answers_depend_on_the_image(tmp_path: Path) -> None:
    samples = _draw(tmp_path / "raw")
    trained = [sample for sample in samples if sample.split == "train"]
    seen = {sample.images[0].image_id for sample in trained}
    new = [sample for sample in samples if sample.split == "test" and sample.images[0].image_id not in seen]
    assert len(new) > 500

    given = defaultdict(Counter[str])
    for sample in trained:
        given[sample.turns[0].question][sample.turns[0].answer] += 1
    references = [sample.turns[0].answer for sample in new]
    most_frequent = [given[sample.turns[0].question].most_common(1)[0][0] for sample in new]
    baseline = metrics.score("exact_match", most_frequent, references)

    answer = _train(trained, tmp_path / "model")

    def score(asked: Sequence[Sample]) -> float:
        return metrics.score("exact_match", list(answer(asked)), references)

    right = score(new)
    shuffled = [sample.images for sample in new]
    random.Random(SEED).shuffle(shuffled)
    blind = {
        "blank": score([replace(sample, images=(BLANK,)) for sample in new]),
        "shuffled": score([replace(sample, images=others) for sample, others in zip(new, shuffled, strict=True)]),
    }
    print(f"baseline {baseline:.1f}, new images {right:.1f}, {blind}")
    assert right >= baseline + 25
    for name, value in blind.items():
        assert abs(value - baseline) <= 5, name
