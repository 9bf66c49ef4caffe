from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import (
    AutoModel,
    CLIPConfig,
    CLIPModel,
    CLIPVisionConfig,
    CLIPVisionModel,
    Dinov2Config,
    Dinov2Model,
    DINOv3ViTConfig,
    DINOv3ViTModel,
    ViTConfig,
    ViTModel,
)

from openmedq.config import Vision
from openmedq.errors import ModelError
from openmedq.model import encoders
from openmedq.model import model as models
from openmedq.model.encoders import biomedclip
from openmedq.training.learner import Learner
from tests.evaluation.layouts import HEADS, PATCH, SIDE, WIDTH, draw_timm, see_timm

from . import tiny
from .test_batch import make_batch

SIZES = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3, "image_size": 32, "patch_size": 8}


def make_settings(encoder: str, **changes: Any) -> Vision:
    settings = Vision(
        encoder=encoder,
        weights=None,
        image_size_px=32,
        patch_size_px=8,
        width=24,
        num_layers=2,
        num_heads=3,
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
    )
    return settings.model_copy(update=changes)


def see(model: Any, pixels: Tensor) -> Tensor:
    """(N, 1 + P, D), as LLaVA takes them."""
    with torch.no_grad():
        tokens: Tensor = model.eval()(pixel_values=pixels, output_hidden_states=True).hidden_states[-1]
    return tokens


def test_scratch_depends_on_the_seed_and_loads_no_weights() -> None:
    states = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        model = encoders.build(make_settings("scratch"))
        states.append(torch.cat([parameter.flatten() for parameter in model.parameters()]))
    assert torch.equal(states[0], states[1])
    assert not torch.equal(states[0], states[2])
    assert see(model, torch.zeros(2, 3, 32, 32)).shape == (2, 17, 24)
    with pytest.raises(ModelError, match="the encoder `scratch` loads none"):
        encoders.build(make_settings("scratch", weights="somewhere"))


TEXT = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "vocab_size": 9}
MAKERS: dict[str, Any] = {
    "vit": lambda: ViTModel(ViTConfig(**SIZES, intermediate_size=48)),
    "dinov2": lambda: Dinov2Model(Dinov2Config(**SIZES, mlp_ratio=2)),
    "dinov3": lambda: DINOv3ViTModel(DINOv3ViTConfig(**SIZES, intermediate_size=48)),
    "clip vision": lambda: CLIPVisionModel(CLIPVisionConfig(**SIZES, intermediate_size=48)),
    "clip": lambda: CLIPModel(CLIPConfig(text_config=TEXT, vision_config={**SIZES, "intermediate_size": 48})),
}


@pytest.mark.parametrize("name", ["vit", "dinov2", "clip vision", "clip"])
def test_pretrained_gives_the_weights_of_a_folder(name: str, tmp_path: Path) -> None:
    model = MAKERS[name]()
    model.save_pretrained(tmp_path)
    loaded = encoders.build(make_settings("pretrained", weights=str(tmp_path)))
    pixels = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(see(loaded, pixels), see(getattr(model, "vision_model", model), pixels))
    assert see(loaded, pixels).shape == (2, 17, 24)
    assert type(AutoModel.from_config(loaded.config)) is type(loaded)  # so that a saved LLaVA builds it again


@pytest.mark.parametrize("name", ["vit", "dinov2", "dinov3", "clip vision"])
def test_what_is_trained_gets_a_gradient(name: str, tmp_path: Path, processor: Any) -> None:
    """Several devices would wait for it."""
    MAKERS[name]().save_pretrained(tmp_path)
    settings = tiny.make_settings(vision={"encoder": "pretrained", "weights": str(tmp_path), "num_heads": 3})
    learner = Learner(models.build(settings, tiny.texts())[0], settings)
    learner(make_batch(processor, [0])).next_token.backward()
    assert not [name for name, each in learner.named_parameters() if each.requires_grad and each.grad is None]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"width": 48, "num_heads": 3}, r"train.vision.width: 48, but .* has 24"),
        ({"patch_size_px": 4}, r"train.vision.patch_size_px: 4, but .* has 8"),
        ({"image_size_px": 64}, r"train.vision.image_size_px: 64: .*doesn't match"),
        ({"weights": None}, "needs a folder or a Hugging Face id"),
    ],
)
def test_sizes_must_be_those_of_the_weights(changes: dict[str, Any], words: str, tmp_path: Path) -> None:
    MAKERS["vit"]().save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=words):
        encoders.build(make_settings("pretrained", **{"weights": str(tmp_path), **changes}))


def test_a_missing_tensor_is_an_error_and_not_a_random_one(tmp_path: Path) -> None:
    MAKERS["dinov2"]().save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    for name in ("embeddings.mask_token", "encoder.layer.1.mlp.fc1.weight"):  # the first is not used
        del tensors[name]
        save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
        if name == "embeddings.mask_token":
            encoders.build(make_settings("pretrained", weights=str(tmp_path)))
    with pytest.raises(ModelError, match=r"1 tensors are missing, such as encoder.layer.1.mlp.fc1.weight; get"):
        encoders.build(make_settings("pretrained", weights=str(tmp_path)))


@pytest.mark.parametrize("encoder", ["pretrained", "biomedclip"])
def test_weights_that_can_not_be_loaded_are_one_line(
    encoder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    for weights in (str(tmp_path), "nobody/nothing"):
        with pytest.raises(ModelError, match=f"train.vision.weights: {weights}: ") as caught:
            encoders.build(make_settings(encoder, weights=weights))
        assert "\n" not in str(caught.value)


def draw_checkpoint() -> dict[str, Tensor]:
    """A checkpoint as open_clip saves one, small: a timm ViT under `visual.trunk.`, a head and a text tower."""
    others = {"visual.head.proj.weight": torch.ones(8, WIDTH), "text.proj.weight": torch.ones(8, 8)}
    others["logit_scale"] = torch.tensor(2.0)
    return {**{f"visual.trunk.{name}": tensor for name, tensor in draw_timm().items()}, **others}


def make_biomedclip(folder: Path) -> Any:
    sizes = {"image_size_px": SIDE, "patch_size_px": PATCH, "width": WIDTH, "num_heads": HEADS}
    return encoders.build(make_settings("biomedclip", weights=str(folder), **sizes))


@pytest.mark.parametrize("is_pickled", [True, False])
def test_biomedclip_sees_what_timm_sees(is_pickled: bool, tmp_path: Path) -> None:
    checkpoint = draw_checkpoint()
    if is_pickled:
        torch.save(checkpoint, tmp_path / "open_clip_pytorch_model.bin")
    else:
        save_file(checkpoint, tmp_path / "open_clip_model.safetensors")
    pixels = torch.randn(2, 3, SIDE, SIDE)
    tokens = see(make_biomedclip(tmp_path), pixels)
    for found, expected in zip((tokens[:, 0], tokens[:, 1:].mean(dim=1)), see_timm(draw_timm(), pixels), strict=True):
        torch.testing.assert_close(found, expected, atol=2e-5, rtol=2e-4)


def test_biomedclip_takes_every_tensor_and_no_unknown_one(tmp_path: Path) -> None:
    checkpoint = draw_checkpoint()
    assert len(biomedclip.select(checkpoint, "x")) == len(checkpoint) - 3

    def build(changed: dict[str, Tensor]) -> None:
        torch.save(changed, tmp_path / "open_clip_pytorch_model.bin")
        make_biomedclip(tmp_path)

    with pytest.raises(ModelError, match=r"1 missing \(blocks.1.mlp.fc2.bias\)"):
        build({name: tensor for name, tensor in checkpoint.items() if name != "visual.trunk.blocks.1.mlp.fc2.bias"})
    with pytest.raises(ModelError, match=r"1 unknown \(blocks.0.ls1.gamma\)"):
        build({**checkpoint, "visual.trunk.blocks.0.ls1.gamma": torch.ones(1)})
    with pytest.raises(ModelError, match=r"unknown tensor decoder.weight"):
        build({**checkpoint, "decoder.weight": torch.ones(1)})
    with pytest.raises(ModelError, match=r"has no visual.trunk"):
        build({"logit_scale": torch.ones(1)})
    with pytest.raises(ModelError, match=r"image_size_px: 24, but .* has 16; set 16"):
        build({**checkpoint, "visual.trunk.pos_embed": torch.ones(1, 5, WIDTH)})
