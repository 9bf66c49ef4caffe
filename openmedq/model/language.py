"""The language model and its tokenizer: a new LLaMA with a tokenizer trained on the mix, or a published one.

Problems of the first LLaMA checkpoints, on which `chaoyi-wu/PMC_LLAMA_7B` is based:

- The tokenizer's config names the class `LLaMATokenizer`, which transformers does not know and replaces by one that
  splits words differently; and it has "" as bos, eos and unk, which sends transformers 5.23 into endless recursion.
  In these cases `LlamaTokenizer` is loaded by name, with `<s>`, `</s>` and `<unk>`.
- The model's config has bos 0 and eos 1, but the ids of `<s>` and `</s>` are 1 and 2: the tokenizer's ids are used.
- There is no pad token: `<pad>` is added. With eos as pad token, the model would not learn to stop.
- The vocabulary is a SentencePiece file, `tokenizer.model`: transformers reads it with the package `sentencepiece`.
- `legacy` tokenizers add a space after each special token: `prompt.py` tokenizes whole conversations only, so that
  training and generation see the same tokens.

The tokenizer holds the chat template (see `prompt.py`).
"""

from collections.abc import Callable, Iterable
from typing import Any, cast

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoConfig,
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaTokenizer,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)
from transformers.models.auto.tokenization_auto import get_tokenizer_config

from openmedq.config import Language
from openmedq.errors import ModelError, shorten
from openmedq.model.prompt import CHAT_TEMPLATE, IMAGE_TOKEN

BOS, EOS, PAD, UNK = "<s>", "</s>", "<pad>", "<unk>"
MAX_POSITIONS = 4096  # of a new model; rotary positions have no weights

Share = Callable[[Callable[[], Any]], Any]  # of several processes, one makes a thing, and all get it


def build(
    settings: Language,
    texts: Iterable[str],
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    share: Share = lambda make: make(),
) -> tuple[LlamaForCausalLM, PreTrainedTokenizerBase]:
    """Return the model and its tokenizer; `texts` are read only to train a new tokenizer, in one process.

    A new model is fp32 and on the CPU, so that its random weights do not depend on the device. Published weights are
    read as `dtype` onto `device`, tensor by tensor.

    Raises:
        ModelError: the weights can't be loaded or are not a LLaMA.
    """
    if settings.weights is None:
        return _build_new(settings, texts, share)
    return _load(settings, settings.weights, dtype, device)


def train_tokenizer(texts: Iterable[str], vocabulary_size: int) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE, which encodes any text; the same texts in the same order give the same tokenizer."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary_size,
        special_tokens=[PAD, BOS, EOS, IMAGE_TOKEN],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        bos_token=BOS,
        eos_token=EOS,
        pad_token=PAD,
        additional_special_tokens=[IMAGE_TOKEN],
        clean_up_tokenization_spaces=False,
    )


def _build_new(
    settings: Language, texts: Iterable[str], share: Share
) -> tuple[LlamaForCausalLM, PreTrainedTokenizerBase]:
    width = settings.width or 0  # Language has checked it
    tokenizer: PreTrainedTokenizerFast = share(lambda: train_tokenizer(texts, settings.vocabulary_size or 0))
    tokenizer.chat_template = CHAT_TEMPLATE
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        num_hidden_layers=settings.num_layers,
        num_attention_heads=settings.num_heads,
        intermediate_size=4 * width,
        max_position_embeddings=MAX_POSITIONS,
        initializer_range=width**-0.5,  # unit gain: with 0.02, the activations would vanish in the frozen layers
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        tie_word_embeddings=False,
    )
    return LlamaForCausalLM(config), tokenizer


def _load(
    settings: Language, weights: str, dtype: torch.dtype, device: torch.device | str
) -> tuple[LlamaForCausalLM, PreTrainedTokenizerBase]:
    try:
        read_config(weights, settings.revision)
        tokenizer = complete(load_tokenizer(weights, settings.revision))
        model, names = LlamaForCausalLM.from_pretrained(
            weights, revision=settings.revision, dtype=dtype, device_map=device, output_loading_info=True
        )
    except ModelError:
        raise
    except Exception as error:  # missing folder, no network, damaged files: many exception types
        raise ModelError(f"train.language.weights: {weights}: can't be loaded: {shorten(error)}") from error
    if names["missing_keys"]:
        raise ModelError(
            f"train.language.weights: {weights}: {len(names['missing_keys'])} tensors are missing, such as "
            f"{min(names['missing_keys'])}; get the weights again, or choose others"
        )
    _add_rows(model, len(tokenizer))
    for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
        setattr(model.config, name, getattr(tokenizer, name))
        setattr(model.generation_config, name, getattr(tokenizer, name))
    return model, tokenizer


def read_config(weights: str, revision: str | None, **options: Any) -> LlamaConfig:
    """Read the config of published weights; ModelError if they are not a LLaMA."""
    config: LlamaConfig = AutoConfig.from_pretrained(weights, revision=revision, **options)
    if config.model_type != "llama":
        raise ModelError(f"train.language.weights: {weights} is a {config.model_type}, not a LLaMA; choose a LLaMA")
    return config


@torch.no_grad()
def _add_rows(model: LlamaForCausalLM, num_tokens: int) -> None:
    """Add rows for new tokens, as the mean of the others: the mean logit is never the largest, so none is generated.

    transformers' `resize_token_embeddings` does the same but for noise, on a base to which an adapter is added.
    """
    num_old = model.config.vocab_size
    if num_tokens > num_old:
        model.resize_token_embeddings(num_tokens, mean_resizing=False)
        for layer in (model.get_input_embeddings(), model.get_output_embeddings()):
            layer.weight[num_old:] = layer.weight[:num_old].mean(dim=0, dtype=torch.float32)


def load_tokenizer(weights: str, revision: str | None = None) -> PreTrainedTokenizerBase:
    """Load a published tokenizer, also with the config of the first LLaMA checkpoints."""
    config: dict[str, Any] = get_tokenizer_config(weights, revision=revision)
    if config.get("tokenizer_class") == "LLaMATokenizer" or "" in (config.get("bos_token"), config.get("eos_token")):
        return cast(
            PreTrainedTokenizerBase,
            LlamaTokenizer.from_pretrained(weights, revision=revision, bos_token=BOS, eos_token=EOS, unk_token=UNK),
        )
    return cast(PreTrainedTokenizerBase, AutoTokenizer.from_pretrained(weights, revision=revision))


def complete(tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    """Add missing bos, eos, pad and image tokens, and our template; ModelError if bos or eos can't be found."""
    vocabulary = tokenizer.get_vocab()
    for name, piece in (("bos_token", BOS), ("eos_token", EOS)):
        if not getattr(tokenizer, name):
            if piece not in vocabulary:
                raise ModelError(
                    f"train.language.weights: the tokenizer has no {name} and no piece {piece}; choose other weights"
                )
            setattr(tokenizer, name, piece)
    if not tokenizer.pad_token or tokenizer.pad_token_id == tokenizer.eos_token_id:
        tokenizer.add_special_tokens({"pad_token": PAD})
    tokenizer.add_special_tokens({"additional_special_tokens": [IMAGE_TOKEN]}, replace_extra_special_tokens=False)
    ids = {name: getattr(tokenizer, f"{name}_token_id") for name in ("bos", "eos", "pad")}
    ids["image"] = tokenizer.convert_tokens_to_ids(IMAGE_TOKEN)
    if None in ids.values() or len({ids["eos"], ids["pad"], ids["image"]}) < 3:
        raise ModelError(
            f"train.language.weights: the tokenizer's special tokens share ids: {ids}; choose other weights"
        )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer
