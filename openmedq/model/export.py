"""`export DIR`: the trained model in a folder of its own, with a card, if the policy allows all it was trained on."""

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
from openmedq.model import training_data
from openmedq.storage.publish import remove

_HEAD = """---
library_name: transformers
pipeline_tag: image-text-to-text
license: other
---

# A medical vision-language model, trained with OpenMedQ

A LLaVA of stock parts: `AutoModelForImageTextToText` and `AutoProcessor` of transformers load this folder. No answer of
it is medical advice: it was not tested for use on patients.
"""


def export(target: Path, policy: Licences, cards: Mapping[str, Card]) -> None:
    """Copy data/model to `target`, whole or not at all, with a README.md that says what it was trained on.

    Raises:
        ExportError: `target` is there already, or `policy` refuses some of what was trained on.
    """
    tree = training_data.read(paths.MODEL)
    if refused := list(training_data.refuse_export(tree, policy)):
        raise ExportError(
            f"policy.licences: {policy} does not allow what {paths.MODEL} was trained on: {'; '.join(refused)}; "
            "`dvc repro` under this policy trains without such rows, and train.vision.licence and "
            "train.language.licence say those of pretrained weights"
        )
    if os.path.lexists(target):
        raise ExportError(f"{target}: is there already; name a folder that is not")
    if paths.MODEL.resolve() in target.resolve().parents:
        raise ExportError(f"{target}: lies in {paths.MODEL}; name a folder elsewhere")
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = target.with_name(f".{target.name}.partial")  # on the same disk as its target, which may not be ours
    remove(aside)
    try:
        shutil.copytree(paths.MODEL, aside, copy_function=shutil.copyfile)  # DVC's files may be links, or read-only
        (aside / "README.md").write_text(render_card(tree, policy, cards), encoding="utf-8")
        aside.rename(target)
    except BaseException:
        remove(aside)
        raise


def render_card(tree: Mapping[str, Any], policy: Licences, cards: Mapping[str, Card]) -> str:
    """The README.md of exported weights."""
    return "\n".join([_HEAD, *_tell_data(tree, policy, cards), *_tell_bases(tree), *_tell_terms(tree)]) + "\n"


def _tell_data(tree: Mapping[str, Any], policy: Licences, cards: Mapping[str, Card]) -> Iterator[str]:
    yield "## Trained on\n"
    yield f"Licence policy of the training: `{tree['policy']}`; of this export: `{policy}`.\n"
    if miniatures := [name for name, facts in tree["sources"].items() if facts["origin"] == "miniature"]:
        yield f"**Generated miniatures, which say nothing about medicine: {', '.join(miniatures)}.**\n"
    yield _row("set", "training rows", "licences of the rows", "access", "files", "citation")
    yield _row(*["---"] * 6)
    for name, facts in tree["sources"].items():
        licences = "; ".join(f"{licence}: {number:,}" for licence, number in facts["licences"].items())
        card = cards.get(name)
        title = f"[{card.title}]({card.homepage})" if card else name
        yield _row(
            title, f"{facts['rows']:,}", licences, facts["access"], facts["origin"], card.citation if card else ""
        )
    yield ""


def _tell_bases(tree: Mapping[str, Any]) -> Iterator[str]:
    yield "## Pretrained weights\n"
    if not tree["base_weights"]:
        yield "None: trained from scratch.\n"
        return
    yield _row("part", "weights", "revision", "licence")
    yield _row(*["---"] * 4)
    for name, base in tree["base_weights"].items():
        yield _row(name, base["weights"], base["revision"] or "-", base["licence"] or "not stated")
    yield ""


def _tell_terms(tree: Mapping[str, Any]) -> Iterator[str]:
    yield "## Terms\n"
    yield "The data and the pretrained weights keep their own licences, and what these ask for (attribution, the same"
    yield "licence, no commerce) is to be met by who hands these weights on. `training_data.json` holds the same as"
    yield "this page, for programs."
    if names := [name for name, facts in tree["sources"].items() if facts["access"] == Access.CREDENTIALED]:
        yield f"\nCredentialed data were trained on ({', '.join(names)}): their agreement binds who has these weights."


def _row(*cells: str) -> str:
    return f"| {' | '.join(' '.join(cell.replace('|', '/').split()) for cell in cells)} |"
