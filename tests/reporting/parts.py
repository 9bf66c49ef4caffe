"""The report, and what a run may add to metrics.json: clean rows, controls, zero-shot classification, calibration."""

import json
from collections.abc import Sequence
from typing import Any

from openmedq import paths
from openmedq.evaluation import evaluate
from openmedq.reporting import report
from openmedq.storage.progress import NoLog
from tests.curate.corpus import make_params

Tree = dict[str, Any]


def write(num_examples: int = 6) -> tuple[str, str]:
    """Run the stage; return its page and its Markdown."""
    report.run(make_params(report={"num_examples": num_examples}), NoLog())
    page, text = ((paths.REPORT / name).read_text(encoding="utf-8") for name in ("index.html", "report.md"))
    return page, text


ZERO_SHOT_METRIC = {"name": "balanced_accuracy", "title": "Balanced accuracy", "is_headline": True}


def add_parts(benchmarks: Sequence[str] = ("bench",)) -> Tree:
    """Add the parts to metrics.json and return it; the numbers have no meaning."""
    tree: Tree = json.loads(evaluate.METRICS.read_text(encoding="utf-8"))
    headlines = [metric["name"] for metric in tree["metrics"] if metric["is_headline"]]
    scored = {name: each for name, each in tree.items() if isinstance(each, dict) and each.get("num_rows")}
    parts: Tree = {}
    for name, scores in scored.items():
        baselines = [key for key in scores if key.startswith("baseline_")]
        scores["clean"] = {"num_rows": scores["num_rows"] - 1, **{key: scores[key] for key in baselines}}
        parts[name] = {"num_rows": scores["num_rows"]}
        for metric in headlines:
            scores["clean"] |= _interval(metric, scores[metric] - 2.25)
            scores |= _interval(f"difference_clean_{metric}", -2.25)
            parts[name] |= _interval(metric, scores[metric] / 2) | _interval(f"difference_{metric}", scores[metric] / 2)
    tree["controls"] = dict.fromkeys(("blank", "shuffled", "no_image"), parts)
    tree["zero_shot"] = {"metrics": [ZERO_SHOT_METRIC]} | {
        name: {
            "num_rows": 40,
            "likelihood": _interval("balanced_accuracy", 0.5125, 0.05),
            "similarity": _interval("balanced_accuracy", 0.4375, 0.05),
        }
        for name in benchmarks
    }
    bins = [
        {"low": low, "high": low + 0.2, "num_rows": int(100 * low), "confidence": low + 0.1, "accuracy": low - 0.05}
        for low in (0.2, 0.4, 0.6, 0.8)
    ]
    tree["calibration"] = {"num_rows": 200, "expected_calibration_error": 0.0817, "bins": bins}
    evaluate.METRICS.write_text(json.dumps(tree), encoding="utf-8")
    return tree


def _interval(name: str, value: float, width: float = 4.5) -> Tree:
    return {name: value, f"{name}_low": value - width, f"{name}_high": value + width}
