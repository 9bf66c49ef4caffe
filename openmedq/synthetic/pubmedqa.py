"""The generated miniature of PubMedQA."""

import json
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from openmedq.datasets.pubmedqa import DECISIONS, SHARD, TRUTH, card
from openmedq.synthetic.draw import generator
from openmedq.synthetic.files import save

_TREATMENTS = ("aspirin", "exercise", "insulin", "surgery", "vitamin D", "massage", "screening", "iron", "zinc", "yoga")
_OUTCOMES = (
    *("survival", "pain", "sleep", "bone density", "blood pressure", "quality of life", "wound healing"),
    *("lung function", "vision", "hearing", "mobility", "memory", "appetite", "birth weight"),
    *("renal function", "glucose control", "fatigue", "balance", "mood", "grip strength"),
)
_RESULTS = {  # decision -> its result and its conclusion
    "yes": ("{outcome} improved with {treatment} (p < 0.01).", "{treatment} improves {outcome}."),
    "no": ("{outcome} did not differ between the groups (p = 0.71).", "{treatment} does not improve {outcome}."),
    "maybe": (
        "{outcome} improved in one of the two hospitals only.",
        "Whether {treatment} improves {outcome} is open.",
    ),
}
_SCHEMA = pa.schema(
    [
        ("pubid", pa.int32()),
        ("question", pa.string()),
        ("context", pa.struct([(name, pa.list_(pa.string())) for name in ("contexts", "labels", "meshes")])),
        ("long_answer", pa.string()),
        ("final_decision", pa.string()),
    ]
)


def write(raw: Path, seed: int = 0) -> None:
    """Write PQA-L with 60 records, 30 of them in the ground truth, and PQA-A and PQA-U with 120 and 10 as shards."""
    random = generator(seed, card.id)
    pairs = list(product(_TREATMENTS, _OUTCOMES))
    subjects = iter(random.permutation(len(pairs)))
    pubmed_ids = iter(random.choice(np.arange(10_000_000, 30_000_000), 190, replace=False))

    def records(decisions: list[str]) -> dict[str, dict[str, Any]]:
        drawn = [decisions[index] for index in random.permutation(len(decisions))]
        return {
            str(next(pubmed_ids)): _record(pairs[next(subjects)], decision, 2000 + int(random.integers(18)))
            for decision in drawn
        }

    train, test = records([*DECISIONS] * 10), records([*DECISIONS] * 10)
    artificial = records(["yes"] * 80 + ["no"] * 40)
    unlabeled = records(["yes"] * 10)
    labeled = {key: (train | test)[key] for key in sorted(train | test)}
    for record in list(labeled.values())[::9]:
        record["YEAR"] = None
    for record in labeled.values():
        record |= {"reasoning_required_pred": record["final_decision"], "reasoning_free_pred": record["final_decision"]}

    truth = {key: record["final_decision"] for key, record in test.items()}
    for name, content in (("ori_pqal.json", labeled), (TRUTH, truth)):
        save(raw / "data" / name, json.dumps(content, indent=4) + "\n")
    _write_shard(raw / "pqa_artificial", artificial, _SCHEMA)
    _write_shard(raw / "pqa_unlabeled", unlabeled, _SCHEMA.remove(_SCHEMA.get_field_index("final_decision")))


def _write_shard(folder: Path, records: dict[str, dict[str, Any]], schema: pa.Schema) -> None:
    """Write records in the columns of Hugging Face."""
    rows = [
        {
            "pubid": int(pubmed_id),
            "question": record["QUESTION"],
            "context": {name.lower(): record[name] for name in ("CONTEXTS", "LABELS", "MESHES")},
            "long_answer": record["LONG_ANSWER"],
            "final_decision": record["final_decision"],
        }
        for pubmed_id, record in records.items()
    ]
    folder.mkdir(exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, schema), folder / SHARD)


def _record(subject: tuple[str, str], decision: str, year: int) -> dict[str, Any]:
    treatment, outcome = subject
    result, conclusion = _RESULTS[decision]
    words = {"treatment": treatment, "outcome": outcome}
    return {
        "QUESTION": f"Does {treatment} improve {outcome}?",
        "CONTEXTS": [f"The effect of {treatment} on {outcome} is debated.", _sentence(result.format(**words))],
        "LABELS": ["BACKGROUND", "RESULTS"],
        "MESHES": ["Humans", treatment.capitalize(), outcome.capitalize()],
        "YEAR": str(year),
        "final_decision": decision,
        "LONG_ANSWER": _sentence(conclusion.format(**words)),
    }


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:]
