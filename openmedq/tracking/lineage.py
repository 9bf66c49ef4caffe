"""The facts that identify a run: params, git commit, and DVC's md5 of each output back to the published files."""

import contextlib
import hashlib
import json
import os
import re
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from openmedq import paths
from openmedq.errors import TrackingError, numbered
from openmedq.storage.tables import read_counts, read_json


@dataclass(frozen=True)
class Input:
    """One dataset of the mix, with DVC's md5 of its samples."""

    dataset_id: str
    path: str
    md5: str
    rows: Mapping[str, int]  # rows in the mix by role; no zeros
    profile: Mapping[str, Any]  # counts of the whole dataset


def read_md5s() -> dict[str, str]:
    """Return DVC's md5 of each output in `dvc.lock`, by path; empty if there is no lock file."""
    outputs = (each for stage in _read_stages().values() for each in stage["outs"].items())
    return {path: md5 for path, md5 in outputs if md5}


def read_input_md5(stage: str, path: Path) -> str | None:
    """Return DVC's md5 of an input when the stage was run last; None if `dvc.lock` does not have it."""
    return _read_stages().get(stage, {"deps": {}})["deps"].get(path.as_posix())


def _read_stages() -> dict[str, dict[str, dict[str, str | None]]]:
    """The md5 of `deps` and `outs` of each stage, by path."""
    lock = paths.DVC_LOCK
    if not lock.exists():
        return {}
    for _ in range(20):  # a parallel `dvc repro -s` may be rewriting it
        with contextlib.suppress(yaml.YAMLError, AttributeError, KeyError, TypeError, ValueError):
            stages = yaml.safe_load(lock.read_text(encoding="utf-8")).get("stages", {})
            return {
                name: {
                    kind: {each["path"]: each.get("md5") for each in stage.get(kind, ())} for kind in ("deps", "outs")
                }
                for name, stage in stages.items()
            }
        time.sleep(0.1)
    raise TrackingError(f"{lock}: not readable; restore it with `git checkout {lock}`")


def hash_folder(folder: Path) -> str:
    """Return the md5 of a folder's content as DVC computes it: the md5 of a JSON list of paths and their md5."""
    entries = []
    for path in sorted(folder.rglob("*"), key=lambda path: path.relative_to(folder).as_posix()):
        if path.is_file():
            entries.append({"md5": hash_path(path), "relpath": path.relative_to(folder).as_posix()})
    return f"{hashlib.md5(json.dumps(entries).encode()).hexdigest()}.dir"


def hash_path(path: Path) -> str:
    """Return the md5 of a file, or of a folder as DVC computes it."""
    if path.is_dir():
        return hash_folder(path)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


def read_inputs(md5s: Mapping[str, str]) -> list[Input]:
    """Return the datasets with rows in the mix, by id."""
    inputs = []
    path = paths.MIX / "waterfall.json"
    for dataset_id, entry in sorted(read_json(path).items() if path.exists() else ()):
        rows = {role: number for role, number in sorted(entry["mix"].items()) if number}
        path = paths.SAMPLES / dataset_id
        if rows and path.as_posix() in md5s:
            counts = read_counts(path) if path.exists() else {}
            profile = {
                "num_rows": counts.get("read"),
                "num_images": counts.get("num_images"),
                "splits": counts.get("splits"),
            }
            inputs.append(Input(dataset_id, path.as_posix(), md5s[path.as_posix()], rows, profile))
    return inputs


def describe(inputs: Sequence[Input]) -> str:
    """Return the data of a training as Markdown, for the run's page until `report` has its scores."""
    num_rows = sum(each.rows.get("train", 0) for each in inputs)
    num_datasets = sum("train" in each.rows for each in inputs)
    lines = [
        f"Trained on {numbered(num_rows, 'row')} of {numbered(num_datasets, 'dataset')}.",
        "",
        "| dataset | train | validation |",
        "|---|--:|--:|",
    ]
    for each in inputs:
        cells = (f"{each.rows.get(role, 0):,}" for role in ("train", "validation"))
        lines.append(f"| {each.dataset_id} | {' | '.join(cells)} |")
    return "\n".join(lines)


def trace_back(md5s: Mapping[str, str]) -> dict[str, Any]:
    """Return the md5 of the mix and, per dataset, the md5 of samples and raw and each file's URL and sha256."""
    catalogue = yaml.safe_load(paths.CATALOGUE.read_text(encoding="utf-8")) if paths.CATALOGUE.exists() else {}
    return {
        "mix": md5s.get(paths.MIX.as_posix()),
        "validation": md5s.get(paths.VALIDATION.as_posix()),
        "sets": {
            dataset_id: {
                "samples": md5s[(paths.SAMPLES / dataset_id).as_posix()],
                "raw": md5s.get((paths.RAW / dataset_id).as_posix()),
                "files": {
                    file["path"]: {"url": redact(file.get("url") or ""), "sha256": file.get("sha256")}
                    for file in entry.get("files") or ()
                },
            }
            for dataset_id, entry in catalogue.get("datasets", {}).items()
            if (paths.SAMPLES / dataset_id).as_posix() in md5s
        },
    }


def flatten(tree: Mapping[str, Any], max_chars: int, prefix: str = "") -> dict[str, str]:
    """Return `{"train": {"lr": 0.1}}` as `{"train.lr": "0.1"}`, each value redacted and cut to `max_chars`."""
    flat: dict[str, str] = {}
    for name, value in tree.items():
        key = f"{prefix}{redact(name)}"
        if isinstance(value, Mapping) and value:
            flat.update(flatten(value, max_chars, f"{key}."))
            continue
        if isinstance(value, list):
            value = [redact(item) if isinstance(item, str) else item for item in value]
        text = redact(value) if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        flat[key] = text if len(text) <= max_chars else f"{text[: max_chars - 1]}…"
    return flat


def redact(text: str) -> str:
    """Remove folders outside the project, and user and password of URLs."""
    text = re.sub(r"(?<=://)[^/\s]*@", "", text)
    return f"…/{Path(text).name}" if text.startswith(("/", "~", "../")) else text


def redact_paths(text: str) -> str:
    """Remove folders outside the project from a message."""
    return re.sub(r"(?<![\w/:.])(?:~|\.\.)?(?:/[^\s/:;,'\"`]+)*/([^\s/:;,'\"`]+)", r"…/\1", text)


def read_git() -> dict[str, str]:
    """Return tags for the commit and for uncommitted changes; empty outside a repository.

    Changes of `dvc.lock` are ignored: every reproduction rewrites it, and its content is logged separately.
    """
    commit = _git("rev-parse", "HEAD")
    if not commit:
        return {}
    changes = _git("status", "--porcelain", "--", ".", f":!{paths.DVC_LOCK}")
    tags = {"git.commit": commit, "git.dirty": str(bool(changes)).lower()}
    experiment = os.environ.get("DVC_EXP_NAME")
    return {**tags, "dvc.experiment": experiment} if experiment else tags


def _git(*words: str) -> str:
    try:
        done = subprocess.run(["git", *words], capture_output=True, encoding="utf-8", errors="replace")
    except OSError:  # git is not installed
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
