import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from transformers import BertConfig, LlamaConfig, LlamaForCausalLM, LlamaTokenizer

from openmedq.config import Language
from openmedq.errors import ModelError
from openmedq.model import language, sizes
from openmedq.model.prompt import CHAT_TEMPLATE, encode

from . import tiny

NEW = Language(weights=None, width=32, num_layers=1, num_heads=2, vocabulary_size=320)


@given(text=st.text())
def test_any_text_can_be_written_and_read_back(tokenizer: Any, text: str) -> None:
    ids = tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    assert tokenizer.decode(ids) == text


def test_a_new_model_has_room_for_its_tokenizer_and_unit_gain() -> None:
    torch.manual_seed(0)
    model, tokenizer = language.build(NEW, tiny.texts())
    assert model.config.vocab_size == len(tokenizer) == 320
    ids = [tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id]
    assert [model.config.pad_token_id, model.config.bos_token_id, model.config.eos_token_id] == ids
    assert len(set(ids) | {tokenizer.convert_tokens_to_ids("<image>")}) == 4
    weight = model.model.layers[0].self_attn.q_proj.weight
    assert weight.std().item() == pytest.approx(32**-0.5, rel=0.1)


def publish(folder: Path, *, is_pmc: bool = False, is_tied: bool = False) -> Path:
    """A published LLaMA without pad and image token; `is_pmc`: with the errors of PMC-LLaMA's configs."""
    torch.manual_seed(0)
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", *"abcdefghijklmnopqrstuvwxyz:"]
    merges = [("t", "h"), ("th", "e"), ("▁", "the")]
    vocabulary = {piece: number for number, piece in enumerate([*pieces, *("".join(pair) for pair in merges)])}
    LlamaTokenizer(vocab=vocabulary, merges=merges).save_pretrained(folder)
    if is_pmc:
        errors = {"tokenizer_class": "LLaMATokenizer", "bos_token": "", "eos_token": "", "unk_token": ""}
        (folder / "tokenizer_config.json").write_text(json.dumps(errors))
    config = LlamaConfig(
        vocab_size=len(vocabulary), hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64,
        bos_token_id=0, eos_token_id=1, pad_token_id=-1 if is_pmc else None, tie_word_embeddings=is_tied,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("is_pmc", [False, True])
def test_missing_special_tokens_are_added_to_published_weights(tmp_path: Path, is_pmc: bool) -> None:
    model, tokenizer = language.build(Language(weights=str(publish(tmp_path, is_pmc=is_pmc))), [])
    assert (tokenizer.bos_token, tokenizer.eos_token) == ("<s>", "</s>")
    ids = [tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id]
    assert [model.config.bos_token_id, model.config.eos_token_id, model.config.pad_token_id] == ids
    assert len({*ids, tokenizer.convert_tokens_to_ids("<image>")}) == 4
    assert model.get_input_embeddings().weight.shape[0] >= len(tokenizer)
    assert ids[:2] == [1, 2]
    assert tokenizer.tokenize("the mass") == ["▁the", "▁", "m", "a", "s", "s"]
    assert tokenizer.chat_template == CHAT_TEMPLATE
    encoded = encode(tiny.SAMPLES[0], tokenizer, 4, 99)
    assert encoded.ids[0] == tokenizer.bos_token_id
    assert encoded.ids[-1] == encoded.labels[-1] == tokenizer.eos_token_id


@pytest.mark.parametrize(
    ("published", "wanted"), [("bfloat16", "bfloat16"), ("float16", "bfloat16"), ("bfloat16", "float32")]
)
def test_weights_are_read_in_the_wanted_precision_onto_the_device(published: str, wanted: str, tmp_path: Path) -> None:
    publish(tmp_path)
    model = LlamaForCausalLM.from_pretrained(tmp_path).to(getattr(torch, published))
    model.save_pretrained(tmp_path)
    settings, dtype = Language(weights=str(tmp_path)), getattr(torch, wanted)
    loaded, _ = language.build(settings, [], dtype)
    assert {parameter.dtype for parameter in loaded.parameters()} == {dtype}
    assert torch.equal(loaded.model.norm.weight, model.model.norm.weight.to(dtype))
    # No weight reaches the memory of the CPU on its way to another device.
    elsewhere, _ = language.build(settings, [], dtype, "meta")
    assert {parameter.device.type for parameter in elsewhere.parameters()} == {"meta"}


def test_new_rows_are_the_mean_of_the_others_so_that_they_are_never_generated(tmp_path: Path) -> None:
    model, tokenizer = language.build(Language(weights=str(publish(tmp_path))), [])
    num_old = LlamaConfig.from_pretrained(tmp_path).vocab_size
    assert len(tokenizer) == num_old + 2
    for layer in (model.get_input_embeddings(), model.get_output_embeddings()):
        torch.testing.assert_close(layer.weight[num_old:], layer.weight[:num_old].mean(dim=0).expand(2, -1))


def test_a_missing_tensor_is_an_error_and_not_a_random_one(tmp_path: Path) -> None:
    tensors = load_file(publish(tmp_path) / "model.safetensors")
    del tensors["model.layers.0.mlp.up_proj.weight"]
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"1 tensors are missing, such as model.layers.0.mlp.up_proj.weight"):
        language.build(Language(weights=str(tmp_path)), [])


def test_another_architecture_is_an_error(tmp_path: Path) -> None:
    BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1).save_pretrained(tmp_path)
    settings = tiny.make_settings(language={"weights": str(tmp_path)})
    for build in (lambda: language.build(settings.language, []), lambda: sizes.build(settings)):
        with pytest.raises(ModelError, match="is a bert, not a LLaMA"):
            build()


def test_weights_that_can_not_be_loaded_are_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    for weights in (str(tmp_path), "nobody/nothing"):
        with pytest.raises(ModelError, match=f"train.language.weights: {weights}: can't be loaded") as caught:
            language.build(Language(weights=weights), [])
        assert "\n" not in str(caught.value)
