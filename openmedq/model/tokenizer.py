"""Find the tokenizer of a training without building its model."""

from pathlib import Path
from typing import cast

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from openmedq import paths
from openmedq.config import Language
from openmedq.errors import ModelError, shorten
from openmedq.model import language


def find(settings: Language, *, is_offline: bool = False) -> PreTrainedTokenizerBase | None:
    """Return the tokenizer of the weights, or, if the language model is new, that of data/model.

    None if the tokenizer would have to be trained, or, with `is_offline`, downloaded. ModelError if it can't be loaded.
    """
    weights = settings.weights
    try:
        if weights is None:
            if not paths.MODEL.exists() or (paths.MODEL / paths.ADAPTER).exists():  # of a published language model
                return None
            saved = AutoTokenizer.from_pretrained(paths.MODEL, local_files_only=True)
            return cast(PreTrainedTokenizerBase, saved)
        if is_offline and not Path(weights).is_dir():
            return None
        return language.complete(language.load_tokenizer(weights, settings.revision))
    except ModelError:
        raise
    except Exception as error:  # missing folder, no network, damaged files: many exception types
        raise ModelError(f"train.language.weights: {weights}: no tokenizer can be loaded: {shorten(error)}") from error
