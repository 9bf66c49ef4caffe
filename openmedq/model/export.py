"""Export the trained model, merged or as an adapter, with a model card, if the licence policy allows its data."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from openmedq import paths
from openmedq.config import Licences
from openmedq.datasets.card import Access, Card
from openmedq.errors import ExportError
from openmedq.model import provenance
from openmedq.storage.publish import remove

Form = Literal["merged", "adapter"]

_HEAD = """---
library_name: {library}
pipeline_tag: image-text-to-text
license: other
---

# A medical vision-language model, trained with OpenMedQ

{loading}
Its answers are not medical advice. It has not been tested for clinical use.
"""
_MERGED = "A LLaVA model: load this folder with `AutoModelForImageTextToText` and `AutoProcessor` of transformers."
_ADAPTER = "The encoder, the projector and a LoRA adapter of a LLaVA model; its language model is not in this folder."
_RECIPE = """## Loading

The language model is `{base}`. In this folder:

```python
from peft import PeftModel
from transformers import AutoConfig, AutoProcessor, GenerationConfig, LlavaForConditionalGeneration

base = {arguments}
config = AutoConfig.from_pretrained(".")  # of the whole LLaVA; two tokens are added to the language model below
text, num_tokens = config.text_config, config.text_config.vocab_size
text.vocab_size, text.pad_token_id = AutoConfig.from_pretrained(**base).vocab_size, None
names = {{"^model": "model.language_model"}}  # transformers warns about the parts that the adapter brings
llava = LlavaForConditionalGeneration.from_pretrained(**base, config=config, key_mapping=names)
llava.resize_token_embeddings(num_tokens)
llava.generation_config = GenerationConfig.from_pretrained(".")
model = PeftModel.from_pretrained(llava, ".").eval()
processor = AutoProcessor.from_pretrained(".")
```
"""


def export(target: Path, policy: Licences, cards: Mapping[str, Card], form: Form = "merged") -> None:
    """Copy data/model to `target`, completely or not at all, with a model card (README.md).

    Raises:
        ExportError: `target` exists or lies in data/model, `policy` does not allow the training data, or there is no
            adapter.
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
        raise ExportError(f"{target}: lies in {paths.MODEL}; choose another folder")
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.partial")  # on the target's own disk, so that it can be renamed
    remove(temporary)
    try:
        _copy(temporary, form)
        (temporary / "README.md").write_text(render_card(tree, policy, cards, form), encoding="utf-8")
        temporary.rename(target)
    except BaseException:
        remove(temporary)
        raise


def _copy(target: Path, form: Form) -> None:
    """Copy the files of one form; copyfile, because DVC's files may be read-only links."""
    weights = ["model*.safetensors*"] if form == "adapter" else []
    ignored = shutil.ignore_patterns(paths.ADAPTER, *weights)
    shutil.copytree(paths.MODEL, target, ignore=ignored, copy_function=shutil.copyfile)
    if form == "adapter":
        shutil.copytree(paths.MODEL / paths.ADAPTER, target, copy_function=shutil.copyfile, dirs_exist_ok=True)


def render_card(tree: Mapping[str, Any], policy: Licences, cards: Mapping[str, Card], form: Form = "merged") -> str:
    """Return the model card: how to load the model, training data, pretrained weights and terms."""
    parts = [*_render_data(tree, policy, cards), *_render_bases(tree), *_render_terms(tree)]
    return "\n".join([*_render_head(tree, form), *parts]) + "\n"


def _render_head(tree: Mapping[str, Any], form: Form) -> Iterator[str]:
    if form == "merged":
        yield _HEAD.format(library="transformers", loading=_MERGED)
        return
    language = tree["base_weights"]["language"]
    arguments = {"pretrained_model_name_or_path": language["weights"]}
    if language["revision"]:
        arguments["revision"] = language["revision"]
    yield _HEAD.format(library="peft", loading=_ADAPTER)
    yield _RECIPE.format(base=language["weights"], arguments=json.dumps(arguments))


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
