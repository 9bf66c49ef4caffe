"""Zero-shot classification of the benchmarks' test rows, which are those of the stage transfer.

- `likelihood`: the model is asked QUESTIONS about the image. The score of a class is the mean log-probability of the
  tokens of its name as the answer, averaged over the questions. It is a mean, because names differ in length.
- `similarity`, of a model trained with the contrastive loss: the cosine of the image and of the class, for which TEXTS
  with its name are averaged. Both are pooled as in the training (see `Learner`).

If rows have one class, likelihoods are divided by their sum over the classes, and the class with the greatest score is
predicted. If rows may have several, a score has no threshold, so only AUROC is computed: it ranks the scores of a class
over the rows.
"""

import logging
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray
from scipy.special import softmax
from torch import Tensor
from torch.nn import functional

from openmedq.config import Params
from openmedq.datasets.card import Card
from openmedq.evaluation import encoder_table
from openmedq.evaluation.benchmark import Benchmark, cut
from openmedq.evaluation.likelihood import Scorer
from openmedq.evaluation.towers.tower import read_preprocessing
from openmedq.model.pixels import normalize
from openmedq.model.prompt import IGNORED, encode
from openmedq.schema import Image, Provenance, Sample, Task, Turn
from openmedq.storage.progress import progress
from openmedq.training.devices import Devices

# The templates; scores are averaged over them. Each question is a forward pass of all rows; texts cost nothing.
QUESTIONS = ("What does the image show?",)
TEXTS = ("{}", "An image of {}.", "The image shows {}.")

LIKELIHOOD, SIMILARITY = "likelihood", "similarity"
SCHEMA = pa.schema(
    [
        *(pa.field(name, pa.string(), False) for name in ("benchmark", "method", "id")),
        pa.field("labels", pa.list_(pa.string()), False),
        pa.field("scores", pa.list_(pa.float32()), False),  # (m,), in the card's order of classes
    ]
)

Numbers = NDArray[np.float64]
Method = Callable[[Tensor], Numbers]  # images (B, 3, S, S) uint8 -> scores (B, m)

logger = logging.getLogger(__name__)


def classify(
    scorer: Scorer, cards: Mapping[str, Card], index: pa.Table, params: Params, own: Devices
) -> tuple[pa.Table, dict[str, Any]]:
    """Return the scores of all test rows, and their metrics by benchmark; each device computes some of the rows.

    Without any row, or if the model is trained without images, the metrics are empty.

    Metrics are `num_rows` of `num_available`, and under each method macro-F1, balanced accuracy and AUROC in [0, 1],
    with `_low` and `_high` from the resamples of patients that transfer uses. A benchmark without a row in the mix is
    skipped with a log message.

    Raises:
        ModelError: the model can't be loaded.
        SourceError: a benchmark has no test rows.
    """
    tables: list[pa.Table] = [SCHEMA.empty_table()]
    tree: dict[str, Any] = {"metrics": encoder_table.describe_metrics()}
    settings = params.evaluate
    is_asked = settings.zero_shot_rows != 0 and params.train.with_images
    for name in params.transfer.benchmarks if is_asked else ():
        rows = index.filter(pc.equal(index["source"], name))
        if not len(rows):
            logger.info("%s: not classified zero-shot, because it has no row in the mix", name)
            continue
        benchmark = Benchmark(cards[name], rows, params, read_preprocessing(scorer.processor.image_processor))
        picked = _draw(benchmark.test.ids, settings.zero_shot_rows, settings.seed)
        methods = {LIKELIHOOD: by_likelihood(scorer, benchmark.card)}
        if params.train.contrastive_weight:
            methods[SIMILARITY] = by_similarity(scorer, benchmark.card)
        found = _score(benchmark, cut(picked, settings.batch_size), methods, own)
        tree[name] = {"num_rows": len(picked), "num_available": len(benchmark.test)}
        for method, scores in found.items():
            table = _tabulate(benchmark, method, picked, scores)
            tables.append(table)
            tree[name][method] = _measure(table, benchmark, picked, params)
    return pa.concat_tables(tables), tree if len(tables) > 1 else {}


def by_likelihood(scorer: Scorer, card: Card) -> Method:
    """Return a method that scores images by the likelihood of the classes' names."""
    prompts = [scorer.encode(_show(Task.VQA, Turn(question, "")), card.readable_classes) for question in QUESTIONS]

    def score(pixels: Tensor) -> Numbers:
        found = [scorer.score([prompt] * len(pixels), pixels) for prompt in prompts]
        per_token: Numbers = np.mean([[np.divide(*row) for row in rows] for rows in found], axis=0)
        return per_token if card.is_multi_label else np.asarray(softmax(per_token, axis=1))

    return score


def by_similarity(scorer: Scorer, card: Card) -> Method:
    """Return a method that scores images by their similarity to the classes' texts."""
    of_templates = [
        torch.stack([embed_text(scorer, each.format(name)) for name in card.readable_classes]) for each in TEXTS
    ]
    texts = functional.normalize(torch.stack(of_templates).mean(dim=0), dim=1)  # (m, D)

    @torch.inference_mode()
    def score(pixels: Tensor) -> Numbers:
        similarities: Numbers = (embed_images(scorer, pixels) @ texts.T).double().cpu().numpy()
        return similarities

    return score


@torch.inference_mode()
def embed_text(scorer: Scorer, text: str) -> Tensor:
    """Return the unit vector (D,) of a text, as the contrastive loss pools an answer: without image and prompt."""
    tokenizer, slots = scorer.processor.tokenizer, scorer.model.config.image_seq_length
    ids, labels, _ = encode(_show(Task.CAPTION, Turn("", text)), tokenizer, slots, tokenizer.model_max_length)
    answer = ids[labels != IGNORED][None].to(scorer.device)
    states = scorer.model.model.language_model(input_ids=answer, use_cache=False).last_hidden_state
    return functional.normalize(states[0].float().mean(dim=0), dim=0)


@torch.inference_mode()
def embed_images(scorer: Scorer, pixels: Tensor) -> Tensor:
    """Return the unit vectors (B, D) of images, as the contrastive loss pools them."""
    images = scorer.processor.image_processor
    shown = normalize(pixels.to(scorer.device), images.image_mean, images.image_std)
    patches = torch.stack(scorer.model.model.get_image_features(pixel_values=shown).pooler_output)
    return functional.normalize(patches.float().mean(dim=1), dim=1)


def _show(task: Task, turn: Turn) -> Sample:
    """A sample with one image, which is not read."""
    return Sample(
        id="zero-shot",
        source="zero-shot",
        split="",
        task=task,
        modality="",
        licence="",
        provenance=Provenance("", ""),
        turns=(turn,),
        images=(Image(""),),
    )


def _draw(ids: Sequence[str], max_rows: int | None, seed: int) -> NDArray[np.int64]:
    """The numbers of at most `max_rows` rows, ascending; they depend on the ids and the seed, not on the order."""
    ordered = sorted(range(len(ids)), key=ids.__getitem__)
    if max_rows is not None and max_rows < len(ids):
        ordered = random.Random(seed).sample(ordered, max_rows)
    return np.sort(np.array(ordered, np.int64))


def _score(
    benchmark: Benchmark, batches: Sequence[NDArray[np.int64]], methods: Mapping[str, Method], own: Devices
) -> dict[str, Numbers]:
    """The scores (rows, m) of test rows by each method; images are read once."""
    found: dict[int, dict[str, Numbers]] = {}
    mine = list(range(len(batches)))[own.rank :: own.num]
    with progress(f"zero-shot: {benchmark.name}", sum(len(batches[number]) for number in mine)) as advance:
        read = benchmark.test.read(batches[number] for number in mine)
        for number, (rows, pixels) in zip(mine, read, strict=True):
            found[number] = {name: method(pixels) for name, method in methods.items()}
            advance(len(rows))
    everything = {number: each for part in own.collect(found) for number, each in part.items()}
    return {name: np.concatenate([everything[number][name] for number in range(len(batches))]) for name in methods}


def _tabulate(benchmark: Benchmark, method: str, picked: NDArray[np.int64], scores: Numbers) -> pa.Table:
    names = [[name] * len(picked) for name in (benchmark.name, method)]
    ids, labels = ([values[row] for row in picked.tolist()] for values in (benchmark.test.ids, benchmark.test.labels))
    return pa.table([*names, ids, labels, scores.tolist()], SCHEMA)


def _measure(table: pa.Table, benchmark: Benchmark, picked: NDArray[np.int64], params: Params) -> dict[str, float]:
    """The metrics of one method."""
    is_multi_label, scores = benchmark.is_multi_label, table["scores"].to_pylist()
    predictions = [[] if is_multi_label else benchmark.decide(own, 0) for own in scores]
    columns = {
        "benchmark": table["benchmark"],
        "seed": np.zeros(len(table), np.int64),
        "group": np.unique(benchmark.test.clusters[picked], return_inverse=True)[1],
        "labels": table["labels"],
        "predictions": pa.array(predictions, pa.list_(pa.string())),
        "probabilities": table["scores"],
    }
    measured = encoder_table.measure(pa.table(columns), benchmark.classes, params.evaluate.num_resamples)
    shown = {encoder_table.AUROC: measured[encoder_table.AUROC]} if is_multi_label else measured
    bounds = encoder_table.bound_all(shown, params.evaluate.confidence)
    return {name: round(value, 4) for name, value in bounds.items()}
