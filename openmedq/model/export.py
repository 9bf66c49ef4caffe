"""Export the trained model to a folder with a model card, if the licence policy allows its training data."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from openmedq import paths
from openmedq.config import Licences
from openmedq.datasets.card import Access, Card
from openmedq.errors import ExportError
from openmedq.model import provenance
from openmedq.storage.publish import remove

_HEAD = """---
library_name: transformers
pipeline_tag: image-text-to-text
license: other
---

# A medical vision-language model, trained with OpenMedQ

A LLaVA model: load this folder with `AutoModelForImageTextToText` and `AutoProcessor` of transformers. Its answers are
not medical advice. It has not been tested for clinical use.
"""


def export(target: Path, policy: Licences, cards: Mapping[str, Card]) -> None:
    """Copy data/model to `target`, completely or not at all, with a model card (README.md).

    Raises:
        ExportError: `target` exists or lies in data/model, or `policy` does not allow the training data.
    """
    tree = provenance.read(paths.MODEL)
    if refused := list(provenance.refuse_export(tree, policy)):
        raise ExportError(
            f"policy.licences: {policy} does not allow the training data of {paths.MODEL}: {'; '.join(refused)}; "
            "train without them: set this policy and run `dvc repro`; set the licences of pretrained weights in "
            "train.vision.licence and train.language.licence"
        )
    if os.path.lexists(target):
        raise ExportError(f"{target}: exists already; choose another folder")
    if paths.MODEL.resolve() in target.resolve().parents:
        raise ExportError(f"{target}: lies in {paths.MODEL}; choose another folder")
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.partial")  # on the target's own disk, so that it can be renamed
    remove(temporary)
    try:
        shutil.copytree(paths.MODEL, temporary, copy_function=shutil.copyfile)  # DVC's files may be read-only links
        (temporary / "README.md").write_text(render_card(tree, policy, cards), encoding="utf-8")
        temporary.rename(target)
    except BaseException:
        remove(temporary)
        raise


def render_card(tree: Mapping[str, Any], policy: Licences, cards: Mapping[str, Card]) -> str:
    """Return the model card: training data, pretrained weights and terms."""
    return "\n".join([_HEAD, *_render_data(tree, policy, cards), *_render_bases(tree), *_render_terms(tree)]) + "\n"


def _render_data(tree: Mapping[str, Any], policy: Licences, cards: Mapping[str, Card]) -> Iterator[str]:
    yield "## Training data\n"
    yield f"Licence policy of the training: `{tree['policy']}`; of this export: `{policy}`.\n"
    if miniatures := [name for name, entry in tree["sources"].items() if entry["origin"] == "miniature"]:
        yield f"**Generated miniatures without medical content: {', '.join(miniatures)}.**\n"
    yield _row("dataset", "training rows", "licences of the rows", "access", "origin", "citation")
    yield _row(*["---"] * 6)
    for name, entry in tree["sources"].items():
        licences = "; ".join(f"{licence}: {number:,}" for licence, number in entry["licences"].items())
        card = cards.get(name)
        title, citation = (f"[{card.title}]({card.homepage})", card.citation) if card else (name, "")
        yield _row(title, f"{entry['rows']:,}", licences, entry["access"], entry["origin"], citation)
    yield ""


def _render_bases(tree: Mapping[str, Any]) -> Iterator[str]:
    yield "## Pretrained weights\n"
    if not tree["base_weights"]:
        yield "None: trained from scratch.\n"
        return
    yield _row("part", "weights", "revision", "licence")
    yield _row(*["---"] * 4)
    for name, base in tree["base_weights"].items():
        yield _row(name, base["weights"], base["revision"] or "-", base["licence"] or "not stated")
    yield ""


def _render_terms(tree: Mapping[str, Any]) -> Iterator[str]:
    yield "## Terms\n"
    yield "The training data and the pretrained weights keep their own licences. Whoever distributes these weights must"
    yield "meet their conditions (attribution, share-alike, no commercial use). `training_data.json` has the content of"
    yield "this page in machine-readable form."
    if names := [name for name, entry in tree["sources"].items() if entry["access"] == Access.CREDENTIALED]:
        yield f"\nCredentialed data were used for training ({', '.join(names)}): their data use agreement applies."


def _row(*cells: str) -> str:
    return f"| {' | '.join(' '.join(cell.replace('|', '/').split()) for cell in cells)} |"
