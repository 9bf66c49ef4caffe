"""A small finished run on disk, without a model, for tests of the report and the summary."""

import json
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import chdir
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import PIL.Image
import pytest
import yaml

from openmedq import paths
from openmedq.curate import deduplicate, mix
from openmedq.evaluation import evaluate
from openmedq.evaluation.generate import END, Answer, Answerer
from openmedq.schema import Sample
from openmedq.storage.progress import Log, NoLog
from tests.curate.corpus import Row, make_params, picture, row, write_sets
from tests.storage.drawing import save

CARDS: dict[str, dict[str, Any]] = {
    "open_vqa": {"access": "open"},
    "secret_vqa": {"access": "credentialed"},
    "open_text": {"access": "open", "task": "text_qa", "modality": "text"},
    "absent_vqa": {"access": "open"},
    "bench": {"kind": "benchmark", "task": "classification", "roles": {"train": "evaluation", "test": "evaluation"}},
}


def reply(text: str) -> Answer:
    """The answer of a model that is not one."""
    return Answer(text, len(text.split()), END, False, 0.5)


def replace_model(monkeypatch: pytest.MonkeyPatch, answer: Answerer) -> None:
    """Let evaluate take answers from a function, and no likelihoods."""
    monkeypatch.setattr(evaluate, "Scorer", lambda *_: SimpleNamespace(model=None, processor=None))
    monkeypatch.setattr(evaluate.generate, "make_answerer", lambda *_, **__: answer)
    monkeypatch.setattr(evaluate.likelihood, "measure", lambda _, texts, *__: [{}] * len(texts))


def answer_by_rule(samples: Sequence[Sample]) -> Iterator[Answer]:
    """Right on closed questions, the reference within hostile markup on others."""
    for sample in samples:
        reference = sample.turns[-1].answer
        yield reply(reference if reference in ("yes", "no") else f"<script>\x00\x1b[31m{reference}</script>")


def write_scores(monkeypatch: pytest.MonkeyPatch, log: Log | None = None, **settings: Any) -> None:
    """Write a run and evaluate it, with answers by a rule."""
    replace_model(monkeypatch, answer_by_rule)
    write_run()
    evaluate.run(make_params(evaluate={"max_new_tokens": 4, "num_resamples": 50, **settings}), log or NoLog())


_RUNS: dict[str, Path] = {}  # by the sections of the params


def write_run(**sections: Any) -> None:
    """Catalogue, samples, verdicts and mix below the current folder. The stages run once for equal sections."""
    made = _RUNS.get(repr(sections))
    if made is None:
        made = _RUNS[repr(sections)] = Path(tempfile.mkdtemp(dir=Path.home()))  # the session removes its home
        with chdir(made):
            _make_run(sections)
    for folder in (paths.SAMPLES, paths.VERDICTS, paths.MIX):
        shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(made / "data", "data", dirs_exist_ok=True)


def _make_run(sections: dict[str, Any]) -> None:
    rows = [
        *_ask("open_vqa", first_image=0),
        *_ask("secret_vqa", first_image=50),
        *(row(f"open_text/{n}", "test" if n % 2 else "train", f"Does it help? {n}", "yes") for n in range(6)),
        row("open_text/copy", "train", "Does it help? 0", "yes"),
        row("bench/0", "test", "", "cat", picture(900), task="classification", labels=["cat"]),
    ]
    write_sets(rows, CARDS, rejected={"open_vqa": {"image missing": 2}})
    _complete_cards()
    params = make_params(**sections)
    deduplicate.run(params)
    mix.run(params)


def _ask(source: str, first_image: int) -> list[Row]:
    """Two questions on each of 12 images, 8 for training; a training row also shows the first test image."""
    rows = []
    for number in range(12):
        split = "train" if number < 8 else "test"
        asked = {"Is <b>it</b> large?": "yes" if number % 4 else "no", "Where is it?": f"{source} side {number % 2}"}
        for question, answer in asked.items():
            rows.append(_show(f"{source}/{number}-{question[:2]}", split, question, answer, first_image + number))
    return [*rows, _show(f"{source}/other", "train", "Is it old?", "no", first_image + 8)]


def _show(row_id: str, split: str, question: str, answer: str, number: int) -> Row:
    return row(row_id, split, question, answer, picture(number) | {"image": {"bytes": encode(number), "path": None}})


def encode(seed: int) -> bytes:
    """A PNG."""
    pixels = np.random.default_rng(seed).integers(0, 255, (48, 64), np.uint8)
    return save(PIL.Image.fromarray(pixels), "PNG")


def _complete_cards() -> None:
    catalogue = yaml.safe_load(paths.CATALOGUE.read_text(encoding="utf-8"))
    for name, entry in catalogue["datasets"].items():
        card = {
            "title": f"Title of {name}",
            "homepage": f"https://{name}.example.org",
            "licence": "CC0-1.0",
            "task": "vqa",
            "modality": "radiology",
            "published_rows": {"train": 16, "test": 8},
        }
        catalogue["datasets"][name] = entry | card
    paths.CATALOGUE.write_text(yaml.safe_dump(catalogue, sort_keys=False), encoding="utf-8")


def write_learning() -> None:
    """Write the outputs of train, transfer and validate."""
    for folder in (paths.TRAINING, paths.VALIDATION):
        folder.mkdir(parents=True)
    _write_json(paths.VALIDATION / "verdict.json", {"success": True})
    _write_json(paths.TRAINING / "metrics.json", {"loss": 0.5, "num_steps": 3, "num_samples": 24})
    scores = {"macro_f1": 0.81, "macro_f1_low": 0.7, "macro_f1_high": 0.9}
    for encoder, own in (("ours", scores), ("scratch", {"macro_f1": 0.62})):
        write_transfer(encoder, own)


def write_transfer(encoder: str, scores: dict[str, float], **changes: Any) -> None:
    """Write metrics.json of an encoder."""
    (paths.TRANSFER / encoder).mkdir(parents=True, exist_ok=True)
    tree = {
        "metrics": [{"name": "macro_f1", "title": "Macro-F1", "is_headline": True, "has_baseline": False}],
        "bench": {encoder: scores, "num_test_rows": 40},
        "mean": {encoder: {name: value for name, value in scores.items() if not name.endswith(("_low", "_high"))}},
    }
    _write_json(paths.TRANSFER / encoder / "metrics.json", tree | changes)


def call_miniatures() -> None:
    """Mark all files as generated."""
    for path in paths.SAMPLES.glob("*/counts.json"):
        counts = json.loads(path.read_text(encoding="utf-8"))
        _write_json(path, counts | {"origin": "miniature"})


def _write_json(path: Any, tree: Any) -> None:
    path.write_text(json.dumps(tree), encoding="utf-8")
