"""A stage of the toy project: writes fixed outputs. The files `fail-<node>` and `sleep-<node>` control it."""

import json
import os
import sys
import time
from pathlib import Path

stage, *rest = sys.argv[1:]
node = "@".join([stage, *rest[:1]])
dataset_id = rest[0] if rest else ""

print(f"{node}: at work", flush=True)
if (pause := Path(f"sleep-{node}")).exists():
    Path(f"pid-{node}").write_text(str(os.getpid()))
    time.sleep(float(pause.read_text()))
if (failure := Path(f"fail-{node}")).exists():
    code, times, line = failure.read_text().split(" ", 2)
    if int(times) > 0:
        failure.write_text(f"{code} {int(times) - 1} {line}")
        print(line, file=sys.stderr)
        sys.exit(int(code))

COUNTS = {"state": "present", "origin": "mirror", "found": 3, "read": 3, "rejected": {}, "splits": {"all": 3}}
COUNTS["num_images"] = 2

OUTPUTS = {
    "miniature": {f"data/miniature/{dataset_id}/{dataset_id}.csv": "1\n"},
    "manifest": {"data/manifest/apple.json": "{}", "data/manifest/cherry.json": "{}", "data/manifest/plum.json": "{}"},
    "download": {f"data/raw/{dataset_id}/origin.json": json.dumps({"from": dataset_id})},
    "normalize": {
        f"data/samples/{dataset_id}/shard-00000.parquet": dataset_id,
        f"data/samples/{dataset_id}/counts.json": json.dumps(COUNTS),
    },
    "deduplicate": {"data/verdicts/counts.json": "{}"},
    "mix": {
        "data/mix/index.parquet": "index",
        "data/mix/waterfall.json": json.dumps(
            {
                "apple": {"mix": {"train": 2, "evaluation": 1}},
                "cherry": {"mix": {"train": 3}},
                "plum": {"mix": {"evaluation": 3}},
            }
        ),
    },
    "validate": {"data/validation/verdict.json": '{"success": true}', "data/docs/index.html": "<p>docs</p>"},
    "train": {
        "data/model/config.json": "{}",
        "data/training/loss.csv": "step,loss\n1,2.0\n2,1.0\n",
        "data/training/metrics.json": '{"loss": 1.0}',
    },
    "evaluate": {"data/evaluation/predictions.parquet": "p", "data/evaluation/metrics.json": '{"all": {"bleu_1": 1}}'},
    "transfer": {
        "data/transfer/ours/predictions.parquet": "p",
        "data/transfer/ours/metrics.json": '{"all": {"macro_f1": 1}}',
    },
    "report": {"data/report/index.html": "<p>report</p>", "data/report/report.md": "| PathVQA | 61.2 |"},
}
for name, text in OUTPUTS[stage].items():
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Path(name).write_text(text)
