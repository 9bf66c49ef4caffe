"""save: a merged model and an adapter that give the answers of training, and an error for each way to lose them."""

import json
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoModelForImageTextToText, CLIPVisionConfig, CLIPVisionModel

from openmedq import paths
from openmedq.errors import ModelError
from openmedq.model import digests, export, lora, prompt, saving
from openmedq.model import model as models
from openmedq.model.batch import collate
from openmedq.model.pixels import decode
from openmedq.reporting import model_card
from openmedq.reporting.results import Results
from openmedq.schema import Task, Turn

from . import tiny
from .test_batch import make_batch
from .test_language import publish

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # of peft 0.21

NUM_PROMPTS = 50
PLACES = ("left lung", "liver", "heart", "spine", "upper lobe", "brain", "kidney", "hip", "knee", "aorta")
QUESTIONS = ("is there a mass in the {}?", "what does the {} show?", "is the {} normal?", "describe the {}", "the {}")


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A published language model, by a path relative to the current folder."""
    monkeypatch.chdir(tmp_path)
    Path("llama").mkdir()
    publish(Path("llama"))
    return "llama"


def build(base: str | None, precision: str = "fp32", **vision: Any) -> tuple[PeftModel, Any]:
    torch.manual_seed(0)
    language = {"weights": base} if base else {}
    settings = tiny.make_settings(language=language, vision=vision, max_tokens=200, precision=precision)
    model, processor = models.build(settings, tiny.texts())
    tiny.shake(model)
    return model.eval(), processor


NO_RESULTS = Results((), None, {}, {})


def read(folder: Path) -> dict[str, Tensor]:
    """The merged tensors, by the names of the model in memory."""
    return lora.find_tensors(AutoModelForImageTextToText.from_pretrained(folder))


def run_card(base: str, form: str, num_blocks: int) -> dict[str, Any]:
    """Export data/model, and return the variables after the first blocks of code of its model card."""
    tree = {"weights": base, "revision": None, "licence": "MIT"}
    description = {"policy": "any", "sources": {}, "base_weights": {"language": tree}}
    (paths.MODEL / "training_data.json").write_text(json.dumps(description))
    out = Path(f"out-{form}")
    export.export(out, "any", lambda tree: model_card.render(NO_RESULTS, tree, "any", form), form)
    blocks = (out / "README.md").read_text(encoding="utf-8").split("```python\n")[1 : num_blocks + 1]
    names: dict[str, Any] = {}
    for block in blocks:
        exec(block.split("```")[0].replace('"."', f'"{out}"'), names)
    return names


def export_adapter(base: str) -> tuple[Any, Any]:
    """Export data/model as an adapter and load it with the code of its model card: the model and its processor."""
    names = run_card(base, "adapter", num_blocks=1)
    return names["model"], names["processor"]


def ask(model: Any, processor: Any, sample: Any) -> list[int]:
    ids = prompt.encode_prompt(sample, processor.tokenizer, tiny.NUM_PATCHES, 200)[0]
    pixels = [decode(image, tiny.SIDE_PX, 3) for image in sample.images]
    batch = collate([ids], pixels, pad_id=processor.tokenizer.pad_token_id, side="left")
    with torch.no_grad():
        written: Tensor = model.generate(**batch.inputs(processor.image_processor), max_new_tokens=8, do_sample=False)
    return written[0, len(ids) :].tolist()


def test_merged_and_adapter_answer_alike_when_loaded_without_our_code(base: str) -> None:
    model, processor = build(base)
    models.save(model, processor, paths.MODEL)
    loaded = (
        (AutoModelForImageTextToText.from_pretrained(paths.MODEL), processor),
        export_adapter(base),
        (model, processor),
    )
    turns = [Turn(question.format(place), "yes") for question in QUESTIONS for place in PLACES]
    assert len(turns) == NUM_PROMPTS
    answers = []
    for number, turn in enumerate(turns):
        sample = tiny.make_sample(Task.VQA, turn, num_images=number % 3)
        merged, adapter, trained = (ask(*each, sample) for each in loaded)
        assert merged == adapter == trained, turn
        answers.append(tuple(merged))
    assert len(set(answers)) > 5
    with loaded[1][0].disable_adapter():
        changed = [ask(*loaded[1], tiny.make_sample(Task.VQA, turn)) for turn in turns[:10]]
    assert changed != [ask(*loaded[1], tiny.make_sample(Task.VQA, turn)) for turn in turns[:10]]


@pytest.mark.parametrize("form", ["merged", "adapter"])
def test_the_code_of_the_card_asks_as_the_evaluation_does(form: str, base: str) -> None:
    model, processor = build(base)
    models.save(model, processor, paths.MODEL)
    image = tiny.make_image(size=(tiny.SIDE_PX, tiny.SIDE_PX))  # so that no filter of a library matters
    sample = replace(tiny.make_sample(Task.VQA, Turn("Is there a mass?", "yes")), images=(image,))
    Path("image.png").write_bytes(image.data or b"")
    names = run_card(base, form, num_blocks=2)
    assert names["ids"].tolist()[:8] == ask(model, processor, sample)
    assert names["answer"] == processor.decode(names["ids"], skip_special_tokens=True).strip() != ""


@pytest.mark.parametrize("is_tied", [False, True])
def test_a_clip_encoder_and_tied_embeddings_are_loaded_too(is_tied: bool, base: str) -> None:
    publish(Path(base), is_tied=is_tied)
    sizes = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 32, "patch_size": 8}
    CLIPVisionModel(CLIPVisionConfig(**sizes, intermediate_size=48)).save_pretrained("clip")
    model, processor = build(base, encoder="pretrained", weights="clip")
    models.save(model, processor, paths.MODEL)
    adapter, _ = export_adapter(base)
    batch = make_batch(processor, [0, 1, 4])
    with torch.no_grad():
        expected = model(**batch.inputs(tiny.NORMALIZATION)).logits
        torch.testing.assert_close(adapter(**batch.inputs(tiny.NORMALIZATION)).logits, expected, atol=1e-3, rtol=0)
        merged = AutoModelForImageTextToText.from_pretrained(paths.MODEL)
        torch.testing.assert_close(merged(**batch.inputs(tiny.NORMALIZATION)).logits, expected, atol=1e-5, rtol=0)
        adapter.merge_and_unload().save_pretrained("again")
        again = AutoModelForImageTextToText.from_pretrained("again")
        torch.testing.assert_close(again(**batch.inputs(tiny.NORMALIZATION)).logits, expected, atol=1e-3, rtol=0)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_merged_weights_are_those_of_peft_and_the_others_those_of_the_base(precision: str, base: str) -> None:
    model, processor = build(base, precision)
    models.save(model, processor, paths.MODEL)
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    published = load_file(f"{base}/model.safetensors")
    targets = lora.find_adapters(model)
    found = read(paths.MODEL)
    plain = model.float().merge_and_unload().state_dict()  # peft's own merge, in fp32
    assert len(targets) == len(tiny.TARGETS)
    for name, tensor in found.items():
        assert torch.equal(tensor, plain[name].to(dtype)), name
        if name.startswith("model.language_model.") or name == "lm_head.weight":
            original = published[name.replace("model.language_model.", "model.")].to(dtype)
            assert torch.equal(tensor[: len(original)], original) == (name not in targets), name


def test_a_model_is_unchanged_after_it_is_saved_and_can_be_saved_again(base: str) -> None:
    model, processor = build(base, "bf16")
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for name in ("one", "two"):
        models.save(model.train(), processor, Path(name))
        assert model.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    for path in Path("one").rglob("*.*"):
        assert path.read_bytes() == (Path("two") / path.relative_to("one")).read_bytes(), path


def test_counts_are_logged_and_the_size_is_known(base: str, caplog: pytest.LogCaptureFixture) -> None:
    model, processor = build(base)
    with caplog.at_level(logging.INFO, "openmedq"):
        models.save(model, processor, paths.MODEL)
    # Frozen: embeddings, head and 3 norms; the encoder's last norm and pooler (4); the projector's second layer (2).
    assert "merged 7 of 7 adapters, 11 other frozen tensors unchanged" in caplog.messages
    assert "adapter: 7 of 7 adapters active when loaded" in caplog.messages
    size = sum(path.stat().st_size for path in paths.MODEL.rglob("*.safetensors"))
    assert models.count_bytes(model) == pytest.approx(size, rel=0.1)


def test_no_file_reveals_a_folder_of_this_machine(base: str, tmp_path: Path) -> None:
    model, processor = build(str(tmp_path / base))
    models.save(model, processor, paths.MODEL)
    files = [path for path in paths.MODEL.rglob("*") if path.is_file()]
    names = {path.name for path in files if path.parent.name == "adapter"}
    assert names == {"adapter_config.json", "adapter_model.safetensors"}
    assert json.loads((paths.MODEL / "adapter/adapter_config.json").read_text())["base_model_name_or_path"] == base
    assert not [path for path in files if str(tmp_path).encode() in path.read_bytes()]


def test_large_models_are_written_in_several_files(base: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, processor = build(base)
    models.save(model, processor, Path("whole"))
    monkeypatch.setattr(saving, "SHARD_BYTES", 50_000)
    models.save(model, processor, Path("parts"))
    files = sorted(path.name for path in Path("parts").glob("model*"))
    assert files[0] == f"model-00001-of-{len(files) - 1:05d}.safetensors"
    assert len(files) > 3
    assert max(path.stat().st_size for path in Path("parts").glob("model-*")) < 60_000
    whole, parts = read(Path("whole")), read(Path("parts"))
    assert whole.keys() == parts.keys()
    assert all(torch.equal(tensor, parts[name]) for name, tensor in whole.items())


def fail(model: PeftModel, processor: Any) -> str:
    with pytest.raises(ModelError) as caught:
        models.save(model, processor, paths.MODEL)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def spoil(monkeypatch: pytest.MonkeyPatch, where: Any, name: str, change: Callable[[Any], Any]) -> None:
    original = getattr(where, name)
    monkeypatch.setattr(where, name, lambda *arguments, **options: change(original(*arguments, **options)))


def rename(tensors: dict[str, Tensor], old: str, new: str) -> dict[str, Tensor]:
    return {name.replace(old, new): tensor for name, tensor in tensors.items()}


@pytest.mark.parametrize("num_trained", [0, 6])
def test_adapters_without_effect(num_trained: int, base: str) -> None:
    model, processor = build(base)
    for layer in list(lora.find_adapters(model).values())[num_trained:]:
        torch.nn.init.zeros_(layer.lora_B[lora.NAME].weight)
    assert fail(model, processor).startswith(f"merged {num_trained} of 7 adapters: model.language_model.layers.0.")


@pytest.mark.parametrize("name", ["self_attn.q_proj.base_layer", "input_layernorm"])
def test_training_that_changes_a_frozen_tensor(name: str, base: str) -> None:
    model, processor = build(base)
    layer = model.base_model.model.model.language_model.layers[0].get_submodule(name)
    layer.weight.data.flatten()[0] += 1e-3
    assert fail(model, processor).startswith("1 of 18 frozen tensors changed in training, such as model.language_model")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("language_model.model.layers.0", "language_model.model.layers.9", "unexpected_keys|missing_keys"),
        ("vision_tower.", "vision_tower.vision_model.", "unexpected_keys|missing_keys"),
        ("linear_1", "linear_3", "missing_keys"),
    ],
)
def test_wrong_names_of_merged_tensors(
    old: str, new: str, words: str, base: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, processor = build(base)
    spoil(monkeypatch, saving, "revert_weight_conversion", lambda tensors: rename(tensors, old, new))
    assert any(word in fail(model, processor) for word in words.split("|"))


def test_right_names_of_other_tensors(base: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def swap(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        name = "language_model.model.layers.0.self_attn.k_proj.weight"
        return {**tensors, name: tensors[name].flip(0)}

    model, processor = build(base)
    spoil(monkeypatch, saving, "revert_weight_conversion", swap)
    assert "k_proj.weight is not the trained one" in fail(model, processor)


@pytest.mark.parametrize(
    ("old", "new"), [(".layers.0.", ".layers.9."), ("lora_A.", "lora_A.0."), ("vision_tower", "tower")]
)
def test_an_adapter_that_loads_without_effect(old: str, new: str, base: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def save(tensors: dict[str, Tensor], path: Path, **options: Any) -> None:
        save_file(rename(tensors, old, new) if path.name.startswith("adapter") else tensors, path, **options)

    model, processor = build(base)
    monkeypatch.setattr(digests, "save_file", save)
    assert "adapter" in fail(model, processor)


def switch_off(model: PeftModel) -> PeftModel:
    model.base_model.disable_adapter_layers()
    return model


def test_an_adapter_whose_layers_are_switched_off(base: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, processor = build(base)
    spoil(monkeypatch, saving.checks.PeftModel, "from_pretrained", switch_off)
    assert "0 of 7 adapters are active when loaded, and they do not change the logits" in fail(model, processor)


def test_values_that_are_not_finite(base: str) -> None:
    model, processor = build(base)
    model.base_model.model.model.multi_modal_projector.linear_1.bias.data[0] = float("nan")
    assert "linear_1.bias is not finite" in fail(model, processor)
