"""Find the tokenizer of a training without building its model."""

from pathlib import Path
from typing import cast

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from openmedq import paths
from openmedq.config import Language
from openmedq.errors import ModelError, shorten
from openmedq.model import language, provenance


def find(settings: Language, *, is_offline: bool = False) -> PreTrainedTokenizerBase | None:
    """Return the tokenizer of data/model if its base weights are those of the settings, else that of the weights.

    None if the tokenizer would have to be trained, or, with `is_offline`, downloaded. ModelError if it can't be loaded.
    """
    try:
        if _is_base_of_model(settings):
            saved = AutoTokenizer.from_pretrained(paths.MODEL, local_files_only=True)
            return cast(PreTrainedTokenizerBase, saved)
        if settings.weights is None or (is_offline and not Path(settings.weights).is_dir()):
            return None
        return language.complete(language.load_tokenizer(settings.weights, settings.revision))
    except ModelError:
        raise
    except Exception as error:  # missing folder, no network, damaged files: many exception types
        raise ModelError(
            f"train.language.weights: {settings.weights}: no tokenizer can be loaded: {shorten(error)}"
        ) from error


def _is_base_of_model(settings: Language) -> bool:
    """Whether data/model was trained from these weights, or from scratch if there are none."""
    if not (paths.MODEL / provenance.NAME).exists():
        return False
    base = provenance.read(paths.MODEL)["base_weights"].get("language")
    if base is None or settings.weights is None:
        return base is None and settings.weights is None
    return Path(base["weights"]).name == Path(settings.weights).name and base["revision"] == settings.revision
