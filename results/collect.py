"""Copy the finished run of this folder to results/NAME, or print the tables of README.md and results/README.md.

python results/collect.py NAME      # images or question-only
python results/collect.py           # the tables; a test holds the pages to them
"""

import json
import shutil
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent
DATA = Path("data")
SOURCES = {"vqa_rad": "VQA-RAD", "slake": "SLAKE, English", "pubmedqa": "PubMedQA"}
IMAGES, QUESTION_ONLY = "images", "question-only"
METRICS = {
    "bleu_1": "BLEU-1",
    "exact_match": "Exact match",
    "open_recall": "Open recall",
    "closed_accuracy": "Closed accuracy",
}
ENCODERS = {"ours": "DINOv2 ViT-S/14", "scratch": "random weights"}
METHODS = {
    "": "fine-tuned",
    "linear_probe": "linear probe",
    "knn": "k nearest neighbors",
    "few_shot_10": "10 images a class",
    "few_shot_1": "1 image a class",
}
CLASS_METRICS = {"macro_f1": "Macro-F1", "balanced_accuracy": "Balanced accuracy", "auroc": "AUROC"}
CONTROLS = {"blank": "gray images", "shuffled": "images of other questions", "no_image": "no image"}

Tree = dict[str, Any]


def collect(name: str) -> None:
    """Copy scores, settings and the report; without the examples, because data stay out of the repository."""
    target = ROOT / name
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    for source in (Path("params.yaml"), DATA / "evaluation" / "metrics.json"):
        shutil.copy(source, target)
    if name == IMAGES:
        shutil.copy(DATA / "verdicts" / "contamination.json", target)
        shutil.copytree(DATA / "report", target / "report")
        for encoder in ENCODERS:
            shutil.copy(DATA / "transfer" / encoder / "metrics.json", target / f"transfer-{encoder}.json")


def tabulate_answers(*, is_whole: bool) -> str:
    """Scores of the answers as a Markdown table; `is_whole` adds the controls and both majorities."""
    lines = ["| Test split | Model | " + " | ".join(METRICS.values()) + " |", "|---|---|" + "---|" * len(METRICS)]
    scores = {run: _read(run, "metrics.json") for run in (IMAGES, QUESTION_ONLY)}
    for source, name in SOURCES.items():
        own = scores[IMAGES][source]
        title = f"{name} ({own['num_rows']:,})"
        rows: list[tuple[str, Tree]] = [
            ("trained with images", own),
            ("trained without images", scores[QUESTION_ONLY][source]),
        ]
        if is_whole:
            given = {what: scores[IMAGES]["controls"][control] for control, what in CONTROLS.items()}
            rows += [(f"trained with images, shown {what}", of[source]) for what, of in given.items() if source in of]
            rows.append(("most frequent answer of the dataset", {"exact_match": own["majority_exact_match"]}))
        rows.append(("most frequent answer to the question", {"exact_match": own["baseline_exact_match"]}))
        for model, found in rows:
            lines.append(f"| {title} | {model} | " + " | ".join(_cells(found)) + " |")
            title = ""
    return "\n".join(lines) + "\n"


def tabulate_encoders() -> str:
    """Scores on PneumoniaMNIST as a Markdown table, fine-tuned and from frozen features."""
    lines = ["| Encoder | | " + " | ".join(CLASS_METRICS.values()) + " |", "|---|---|" + "---|" * len(CLASS_METRICS)]
    for encoder, title in ENCODERS.items():
        scores = _read(IMAGES, f"transfer-{encoder}.json")["pneumonia_mnist"][encoder]
        for method, name in METHODS.items():
            found = scores[method] if method else scores
            lines.append(f"| {title} | {name} | " + " | ".join(_cells(found, CLASS_METRICS, 3)) + " |")
            title = ""
    return "\n".join(lines) + "\n"


def make_tables() -> list[tuple[str, str]]:
    """Pages with their tables."""
    return [
        ("README.md", tabulate_answers(is_whole=False)),
        ("results/README.md", tabulate_answers(is_whole=True)),
        ("results/README.md", tabulate_encoders()),
    ]


def _cells(found: Tree, names: Iterable[str] = METRICS, num_digits: int = 1) -> Iterator[str]:
    for name in names:
        cell = f"{found[name]:.{num_digits}f}" if name in found else ""
        if f"{name}_low" in found:
            cell += f" ({found[f'{name}_low']:.{num_digits}f}-{found[f'{name}_high']:.{num_digits}f})"
        yield cell


def _read(name: str, file: str) -> Tree:
    tree: Tree = json.loads((ROOT / name / file).read_text(encoding="utf-8"))
    return tree


if __name__ == "__main__":
    if len(sys.argv) > 1:
        collect(sys.argv[1])
    else:
        print("\n".join(table for _, table in make_tables()))
