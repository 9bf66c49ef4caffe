import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import torch
import yaml
from scipy.special import softmax
from sklearn.metrics import roc_auc_score

from openmedq import paths
from openmedq.config import Params
from openmedq.curate import deduplicate, mix
from openmedq.datasets import catalogue
from openmedq.evaluation import zero_shot
from openmedq.evaluation.likelihood import Scorer
from openmedq.model import model as models
from openmedq.model.batch import collate
from openmedq.model.pixels import decode
from openmedq.model.prompt import encode
from openmedq.schema import Sample, Task, Turn
from openmedq.storage.shards import ShardStore
from openmedq.storage.tables import read_index
from openmedq.training.devices import Devices
from openmedq.training.learner import Learner
from tests.curate.corpus import make_params, picture, row, write_sets
from tests.evaluation.test_likelihood import compute_loss
from tests.model import tiny
from tests.stages.results import encode as draw_png

pytestmark = pytest.mark.usefixtures("torch_on_one_thread")

CPU = Devices(torch.device("cpu"))
CLASSES = {"single": ["cat", "2", "Old_dog"], "several": ["lung", "heart"]}
NAMES = ["cat", "grade two", "old dog"]  # of `single`
CARD = {"kind": "benchmark", "task": "classification", "fitted": ["train"], "scored": ["test"]}
CARD |= {"roles": {"train": "evaluation", "test": "evaluation"}}
CARDS = {
    "single": {**CARD, "classes": CLASSES["single"], "class_names": {"2": "grade two"}},
    "several": {**CARD, "classes": CLASSES["several"], "is_multi_label": True},
}
NUM_ROWS = 12  # of the test split
LABELS = {"single": [["cat"], ["2"], ["Old_dog"], ["2"]], "several": [[], ["lung"], ["lung", "heart"], ["heart"]]}


@pytest.fixture(autouse=True)
def _project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mix of two benchmarks; two rows of `single` are of one patient."""
    monkeypatch.chdir(tmp_path)
    rows = []
    for number, (name, labels) in enumerate(LABELS.items()):
        for place in range(NUM_ROWS + 20):
            own, seed = labels[place % 4], 100 * number + place
            shown = picture(seed) | {"image": {"bytes": draw_png(seed), "path": None}}
            groups = dict.fromkeys(("patient", "study", "article", "case", "question"))
            groups["patient"] = f"patient {place // 2}" if name == "single" else None
            split = "test" if place < NUM_ROWS else "train"
            more: dict[str, Any] = {"task": "classification", "labels": own, "groups": groups}
            rows.append(row(f"{name}/{place}", split, "", ", ".join(own), shown, **more))
    write_sets(rows, CARDS)
    deduplicate.run(make())
    mix.run(make())


def make(contrastive_weight: float = 0.0, with_images: bool = True, **evaluate: Any) -> Params:
    transfer = {"benchmarks": ["single", "several"], "num_epochs": 1, "lr": 1e-3}
    params = make_params(evaluate={"max_new_tokens": 4, "num_resamples": 50, **evaluate}, transfer=transfer)
    train = params.train.model_copy(update={"contrastive_weight": contrastive_weight, "with_images": with_images})
    return params.model_copy(update={"train": train})


def classify(scorer: Scorer, *, own: Devices = CPU, **settings: Any) -> tuple[pa.Table, dict[str, Any]]:
    cards = catalogue.read(paths.CATALOGUE)
    return zero_shot.classify(scorer, cards, read_index(), make(**settings), own)


def take(table: pa.Table, benchmark: str, method: str = "likelihood") -> list[dict[str, Any]]:
    is_taken = pc.and_(pc.equal(table["benchmark"], benchmark), pc.equal(table["method"], method))
    return list(table.filter(is_taken).to_pylist())


def test_the_test_rows_are_scored_and_no_other(scorer: Scorer) -> None:
    table, scores = classify(scorer)
    assert table.schema.equals(zero_shot.SCHEMA)
    for name, classes in CLASSES.items():
        rows = take(table, name)
        assert [each["id"] for each in rows] == [f"{name}/{place}" for place in range(NUM_ROWS)]
        assert [each["labels"] for each in rows] == LABELS[name] * (NUM_ROWS // 4)
        assert all(len(each["scores"]) == len(classes) for each in rows)
        assert (scores[name]["num_rows"], scores[name]["num_available"]) == (NUM_ROWS, NUM_ROWS)
        assert "similarity" not in scores[name]


def test_a_score_is_the_mean_log_probability_of_the_tokens_of_a_name(
    scorer: Scorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zero_shot, "QUESTIONS", ("What does the image show?", "What is it?"))
    table, _ = classify(scorer)
    images = {sample.id: sample for sample in _read("single")}
    for each in take(table, "single")[:3]:
        per_question = []
        for question in zero_shot.QUESTIONS:
            asked = replace(images[each["id"]], task=Task.VQA, turns=(Turn(question, ""),))
            per_question.append([np.divide(*compute_loss(scorer, asked, name)) for name in NAMES])
        np.testing.assert_allclose(each["scores"], softmax(np.mean(per_question, axis=0)), rtol=0, atol=1e-5)


def _read(name: str) -> list[Sample]:
    index = read_index()
    return list(ShardStore(paths.SAMPLES).take(index.filter(pc.equal(index["source"], name))))


def test_several_labels_a_row_have_no_threshold_and_only_an_auroc(scorer: Scorer) -> None:
    table, scores = classify(scorer)
    rows = take(table, "several")
    true = np.array([[name in each["labels"] for name in CLASSES["several"]] for each in rows])
    expected = roc_auc_score(true, np.array([each["scores"] for each in rows]), average="macro")
    found = scores["several"]["likelihood"]
    assert set(found) == {"auroc", "auroc_low", "auroc_high"}
    assert found["auroc"] == pytest.approx(expected, abs=1e-4)


def test_a_local_dataset_has_the_classes_of_its_rows(scorer: Scorer) -> None:
    expected, _ = classify(scorer)
    local = {"folder": "own", "task": "classification", "is_benchmark": True}
    tree = yaml.safe_load(paths.CATALOGUE.read_text())
    tree["datasets"]["single"] |= {"classes": [], "local": local}
    paths.CATALOGUE.write_text(yaml.safe_dump(tree))
    order = [CLASSES["single"].index(name) for name in sorted(CLASSES["single"])]
    table, scores = classify(scorer)
    for own, same in zip(take(table, "single"), take(expected, "single"), strict=True):
        np.testing.assert_allclose(own["scores"], [same["scores"][place] for place in order], atol=1e-6)
    assert scores["single"]["likelihood"]["macro_f1"] > 0


def test_fewer_rows_are_drawn_by_ids_and_seed(scorer: Scorer) -> None:
    table, scores = classify(scorer, zero_shot_rows=5)
    whole, _ = classify(scorer)
    ids = table["id"].to_pylist()
    assert len(ids) == len(set(ids)) == 10 and set(ids) <= set(whole["id"].to_pylist())
    assert (scores["single"]["num_rows"], scores["single"]["num_available"]) == (5, NUM_ROWS)
    assert classify(scorer, zero_shot_rows=5)[0].equals(table)
    assert classify(scorer, zero_shot_rows=5, seed=1)[0]["id"].to_pylist() != ids


@pytest.mark.parametrize("settings", [{"zero_shot_rows": 0}, {"with_images": False}])
def test_without_rows_nothing_is_scored(settings: dict[str, Any], scorer: Scorer) -> None:
    table, scores = classify(scorer, **settings)
    assert len(table) == 0 and scores == {}


def test_two_devices_score_as_one_does(scorer: Scorer, monkeypatch: pytest.MonkeyPatch) -> None:
    table, scores = classify(scorer, batch_size=4)
    values: dict[int, Any] = {}
    barrier = threading.Barrier(2, timeout=60)

    def collect(own: Devices, value: Any) -> list[Any]:
        values[own.rank] = value
        barrier.wait()
        both = [values[0], values[1]]
        barrier.wait()
        return both

    monkeypatch.setattr(Devices, "collect", collect)
    devices = [Devices(CPU.device, rank=rank, num=2) for rank in range(2)]
    with ThreadPoolExecutor(2) as pool:
        for found in pool.map(lambda own: classify(scorer, own=own, batch_size=4), devices):
            assert found[0].equals(table) and found[1] == scores
    assert {rank: list(value) for rank, value in values.items()} == {0: [0, 2], 1: [1]}, "three batches in turn"


def test_texts_and_images_are_pooled_as_in_the_training(scorer: Scorer) -> None:
    torch.manual_seed(0)
    model, processor = models.build(tiny.make_settings(), tiny.texts())
    tiny.shake(model)
    learner = Learner(model, tiny.make_settings(contrastive_weight=1.0)).eval()
    text = "an old dog"
    samples = [tiny.make_sample(Task.CAPTION, Turn("", each)) for each in (text, "a much longer answer of a cat")]
    encoded = [encode(each, processor.tokenizer, tiny.NUM_PATCHES, 96) for each in samples]
    images = processor.image_processor
    pixels = [decode(each.images[0], images.size["height"], images.resample) for each in samples]
    batch = collate([each.ids for each in encoded], pixels, pad_id=0, labels=[each.labels for each in encoded])
    with torch.inference_mode():
        texts, _ = learner._pool_answers(batch)
        shown = learner._encode_images(batch).mean(dim=1)
    unit = torch.nn.functional.normalize
    torch.testing.assert_close(zero_shot.embed_text(scorer, text), unit(texts, dim=1)[0], rtol=0, atol=1e-5)
    torch.testing.assert_close(
        zero_shot.embed_images(scorer, torch.stack(pixels)), unit(shown, dim=1), rtol=0, atol=1e-5
    )


def test_a_contrastive_model_is_scored_by_similarity_too(scorer: Scorer) -> None:
    table, scores = classify(scorer, contrastive_weight=0.5)
    assert set(scores["single"]) == {"num_rows", "num_available", "likelihood", "similarity"}
    texts = []
    for name in NAMES:
        own = torch.stack([zero_shot.embed_text(scorer, text.format(name)) for text in zero_shot.TEXTS]).mean(dim=0)
        texts.append(own / own.norm())
    sample = _read("single")[0]
    image = zero_shot.embed_images(scorer, scorer.read_images([sample]))[0]
    expected = [float(image @ each) for each in texts]
    np.testing.assert_allclose(take(table, "single", "similarity")[0]["scores"], expected, atol=1e-6)
