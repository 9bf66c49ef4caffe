"""What a run is known by: params, git commit, and DVC's md5 back to the published files. Reads them, logs nothing.

How it reaches MLflow is `lineage`'s business.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from openmedq import paths
from openmedq.errors import TrackingError
from openmedq.storage.tables import read_counts, read_json


@dataclass(frozen=True)
class Input:
    """One set of the mix, as DVC signed it."""

    set_id: str
    path: str
    md5: str
    rows: Mapping[str, int]  # in the mix, by role; none is 0
    profile: Mapping[str, Any]  # of the set alone, whatever the mix takes of it


def read_md5s(lock: Path = paths.DVC_LOCK) -> dict[str, str]:
    """DVC's md5 of every output that `dvc.lock` records, by path; empty where there is no lock."""
    if not lock.exists():
        return {}
    for _ in range(20):  # a parallel `dvc repro -s` may be rewriting it
        with contextlib.suppress(yaml.YAMLError):
            content = yaml.safe_load(lock.read_text(encoding="utf-8"))
            if isinstance(content, dict):
                outputs = [out for stage in content.get("stages", {}).values() for out in stage.get("outs", ())]
                return {out["path"]: out["md5"] for out in outputs if "md5" in out}
        time.sleep(0.1)
    raise TrackingError(f"{lock}: not readable; restore it with `git checkout {lock}`")


def read_inputs(md5s: Mapping[str, str]) -> list[Input]:
    """The sets that the mix takes rows of, by id."""
    inputs = []
    for set_id, entry in sorted(_read_json(paths.MIX / "waterfall.json").items()):
        rows = {role: number for role, number in sorted(entry["mix"].items()) if number}
        path = paths.SAMPLES / set_id
        if rows and path.as_posix() in md5s:
            counts = read_counts(path) if path.exists() else {}
            profile = {
                "num_rows": counts.get("read"),
                "num_images": counts.get("num_images"),
                "splits": counts.get("splits"),
            }
            inputs.append(Input(set_id, path.as_posix(), md5s[path.as_posix()], rows, profile))
    return inputs


def trace_back(md5s: Mapping[str, str]) -> dict[str, Any]:
    """From the mix to the published files: per set the md5 of samples and raw, and url and sha256 of each file."""
    return {
        "mix": md5s.get(paths.MIX.as_posix()),
        "validation": md5s.get(paths.VALIDATION.as_posix()),
        "sets": {
            set_id: {
                "samples": md5s[(paths.SAMPLES / set_id).as_posix()],
                "raw": md5s.get((paths.RAW / set_id).as_posix()),
                "files": {
                    file["path"]: {"url": conceal(file.get("url") or ""), "sha256": file.get("sha256")}
                    for file in entry.get("files") or ()
                },
            }
            for set_id, entry in _read_yaml(paths.CATALOGUE).get("datasets", {}).items()
            if (paths.SAMPLES / set_id).as_posix() in md5s
        },
    }


def flatten(tree: Mapping[str, Any], max_chars: int, prefix: str = "") -> dict[str, str]:
    """`{"train": {"lr": 0.1}}` as `{"train.lr": "0.1"}`, each value concealed and cut to `max_chars`."""
    flat: dict[str, str] = {}
    for name, value in tree.items():
        key = f"{prefix}{conceal(name)}"
        if isinstance(value, Mapping) and value:
            flat.update(flatten(value, max_chars, f"{key}."))
            continue
        if isinstance(value, list):
            value = [conceal(item) if isinstance(item, str) else item for item in value]
        text = conceal(value) if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        flat[key] = text if len(text) <= max_chars else f"{text[: max_chars - 1]}…"
    return flat


def conceal(text: str) -> str:
    """A text without what names a user or a machine: folders outside the project, and who logs in to a URL."""
    text = re.sub(r"(?<=://)[^/\s]*@", "", text)
    return f"…/{Path(text).name}" if text.startswith(("/", "~", "../")) else text


def read_git() -> dict[str, str]:
    """Tags of the commit and whether the tree differs from it; none outside a repository.

    `dvc.lock` does not count: each reproduction rewrites it, and what it says is traced in its own right.
    """
    commit = _git("rev-parse", "HEAD")
    if not commit:
        return {}
    dirty = _git("status", "--porcelain", "--", ".", f":!{paths.DVC_LOCK}")
    tags = {"git.commit": commit, "git.dirty": str(bool(dirty)).lower()}
    experiment = os.environ.get("DVC_EXP_NAME")
    return {**tags, "dvc.experiment": experiment} if experiment else tags


def _git(*words: str) -> str:
    try:
        done = subprocess.run(["git", *words], capture_output=True, encoding="utf-8", errors="replace")
    except OSError:  # no git
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _read_json(path: Path) -> dict[str, Any]:
    return read_json(path) if path.exists() else {}


def _read_yaml(path: Path) -> dict[str, Any]:
    return dict(yaml.safe_load(path.read_text(encoding="utf-8"))) if path.exists() else {}
