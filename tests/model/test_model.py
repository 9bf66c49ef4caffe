from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForImageTextToText, AutoProcessor, LlavaForConditionalGeneration, pipeline

from openmedq.config.base import LoraTarget
from openmedq.errors import ModelError
from openmedq.evaluation import generate
from openmedq.model import encoders, prompt
from openmedq.model import model as models
from openmedq.model import projector as projectors

from . import tiny
from .test_batch import make_batch


@pytest.fixture
def saved(model: PeftModel, processor: Any, tmp_path: Path) -> tuple[Path, torch.Tensor]:
    """A folder, and the logits of the model before it was saved."""
    tiny.shake(model)
    model.eval()
    with torch.no_grad():
        logits = model(**make_batch(processor, [0, 1, 4]).inputs(processor.image_processor)).logits
    models.save(model, processor, tmp_path / "model")
    return tmp_path / "model", logits


def test_the_saved_model_gives_the_training_models_logits(saved: tuple[Path, torch.Tensor], processor: Any) -> None:
    folder, expected = saved
    loaded = AutoModelForImageTextToText.from_pretrained(folder)
    assert type(loaded) is LlavaForConditionalGeneration
    with torch.no_grad():
        logits = loaded(
            **make_batch(AutoProcessor.from_pretrained(folder), [0, 1, 4]).inputs(processor.image_processor)
        ).logits
    torch.testing.assert_close(logits, expected, atol=1e-5, rtol=0)
    assert {path.suffix for path in folder.iterdir()} == {".safetensors", ".json", ".jinja"}


def test_the_pipeline_of_transformers_answers_as_we_do(saved: tuple[Path, torch.Tensor]) -> None:
    import io

    import PIL.Image

    samples = [sample for sample in tiny.SAMPLES if len(sample.images) == 1]
    answer = generate.make_answerer(*models.load(saved[0]), max_new_tokens=5, batch_size=2)
    ours = next(answer(samples)).text
    ask = pipeline("image-text-to-text", model=str(saved[0]), device="cpu")
    conversations = []
    for sample in samples:
        conversation = prompt.converse(sample, sample.turns, ask.tokenizer, with_answer=False)
        for slot, image in zip(conversation[0]["content"], sample.images, strict=False):
            slot["image"] = PIL.Image.open(io.BytesIO(image.data or b"")).convert("RGB")
        conversations.append(conversation)
    settings = {"max_new_tokens": 5, "do_sample": False, "return_full_text": False}
    one_by_one = [ask(text=each, **settings)[0]["generated_text"] for each in conversations]
    assert one_by_one[0].strip() == ours
    together = ask(text=conversations, batch_size=len(samples), **settings)
    assert [each[0]["generated_text"] for each in together] == one_by_one


def test_the_projector_is_one_linear_layer(model: PeftModel) -> None:
    projector = model.model.model.multi_modal_projector
    tiny.shake(model)
    tokens = torch.randn(2, tiny.NUM_PATCHES, 24)
    expected = tokens @ projector.linear_1.weight.T + projector.linear_1.bias
    torch.testing.assert_close(projector(tokens), expected, atol=1e-6, rtol=1e-6)
    alone = projectors.build(model.config)
    assert [name for name, parameter in alone.named_parameters() if parameter.requires_grad] == [
        "linear_1.weight",
        "linear_1.bias",
    ]
    assert torch.equal(projector.linear_2.weight, torch.eye(tiny.WIDTH))


@pytest.mark.parametrize("factor", [1, 50])
def test_projected_tokens_start_as_long_as_word_embeddings(factor: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def build_long(settings: Any) -> Any:
        vision = build(settings)
        for layer in vision.layers:  # residual branches, so that the tokens before the last norm are long
            layer.mlp.fc2.weight.data *= factor
        return vision

    build = encoders.build
    monkeypatch.setattr(models.encoders, "build", build_long)
    torch.manual_seed(0)
    llava = models.build(tiny.make_settings(), tiny.texts())[0].base_model.model
    images = 4 * torch.rand(4, 3, tiny.SIDE_PX, tiny.SIDE_PX) - 2
    with torch.no_grad():
        words = llava.get_input_embeddings().weight.norm(dim=-1).mean()
        tokens = llava.model.vision_tower(pixel_values=images, output_hidden_states=True).hidden_states[-1][:, 1:]
        length = llava.model.multi_modal_projector(tokens).norm(dim=-1).mean()
    assert float(length / words) == pytest.approx(1, abs=0.15)
    assert llava.model.vision_tower.training == llava.training


def test_adapters_are_on_the_language_model_alone_and_begin_as_the_identity(processor: Any) -> None:
    torch.manual_seed(0)
    settings = tiny.make_settings()
    adapted = models.build(settings, tiny.texts())[0].eval()
    places = {name.rpartition(".lora_A")[0] for name, _ in adapted.named_parameters() if "lora_A" in name}
    assert len(places) == 2 * len(tiny.TARGETS)
    assert all(".language_model." in place for place in places)
    batch = make_batch(processor, [0])
    with torch.no_grad():
        logits = adapted(**batch.inputs(processor.image_processor)).logits
        with adapted.disable_adapter():
            assert torch.equal(adapted(**batch.inputs(processor.image_processor)).logits, logits)


def test_the_targets_that_params_allow_are_the_linear_layers_of_a_llama() -> None:
    layers = models.build(tiny.make_settings(), tiny.texts())[0].model.model.language_model.layers
    names = {name.rpartition(".")[2] for name, _ in layers.named_modules()}
    linear = {name for name in names if name.endswith("_proj")}
    assert linear == set(get_args(LoraTarget))


def test_more_tokens_than_the_language_model_has_positions_are_an_error() -> None:
    with pytest.raises(ModelError, match=r"train\.max_tokens: 4097, but .* has 4096 positions; set at most 4096"):
        models.build(tiny.make_settings(max_tokens=4097), tiny.texts())


def test_a_missing_device_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert models.pick_device("auto").type == models.pick_device("cpu").type == "cpu"
    with pytest.raises(ModelError, match=r"execution\.device: cuda"):
        models.pick_device("cuda")
