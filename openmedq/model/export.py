"""Export the trained model, merged or as an adapter, with a model card, if the licence policy allows its data."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from openmedq import paths
from openmedq.config import Licences
from openmedq.errors import ExportError
from openmedq.model import provenance
from openmedq.model.provenance import Tree
from openmedq.storage.publish import replacing

Form = Literal["merged", "adapter"]


def export(target: Path, policy: Licences, render_card: Callable[[Tree], str], form: Form = "merged") -> None:
    """Copy data/model to `target`, completely or not at all, with a model card (README.md).

    `render_card` returns the card's text, given training_data.json.

    Raises:
        ExportError: `target` exists or lies in data/model, `policy` does not allow the training data, or there is no
            adapter.
        DiskFullError: the disk of `target` is full.
    """
    tree = provenance.read(paths.MODEL)
    if form == "adapter" and not (paths.MODEL / paths.ADAPTER).is_dir():
        raise ExportError(
            f"{paths.MODEL}: has no adapter, because its language model is new and has no published base "
            "(train.language.weights: null); export it with --merged"
        )
    if refused := list(provenance.refuse_export(tree, policy)):
        raise ExportError(
            f"policy.licences: {policy} does not allow the training data of {paths.MODEL}: {'; '.join(refused)}; "
            "train without them: set this policy and run `dvc repro`; set the licences of pretrained weights in "
            "train.vision.licence and train.language.licence"
        )
    if os.path.lexists(target):
        raise ExportError(f"{target}: exists already; choose another folder")
    if paths.MODEL.resolve() in target.resolve().parents:
        raise ExportError(f"{target}: is inside {paths.MODEL}; choose another folder")
    with replacing(target) as temporary:
        _copy(temporary, form)
        (temporary / "README.md").write_text(render_card(tree), encoding="utf-8")


def _copy(target: Path, form: Form) -> None:
    """Copy the files of one form; copyfile, because DVC's files may be read-only links."""
    weights = ["model*.safetensors*"] if form == "adapter" else []
    ignored = shutil.ignore_patterns(paths.ADAPTER, *weights)
    shutil.copytree(paths.MODEL, target, ignore=ignored, copy_function=shutil.copyfile)
    if form == "adapter":
        shutil.copytree(paths.MODEL / paths.ADAPTER, target, copy_function=shutil.copyfile, dirs_exist_ok=True)
