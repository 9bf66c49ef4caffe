import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional
from transformers import (
    AutoModel,
    CLIPConfig,
    CLIPModel,
    CLIPVisionConfig,
    CLIPVisionModel,
    Dinov2Config,
    Dinov2Model,
    ViTConfig,
    ViTModel,
)

from openmedq.config import Vision
from openmedq.errors import ModelError
from openmedq.model import encoders
from openmedq.model.encoders import biomedclip

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


def test_scratch_depends_on_the_seed_and_checks_its_sizes() -> None:
    states = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        model = encoders.build(make_settings("scratch"))
        states.append(torch.cat([parameter.flatten() for parameter in model.parameters()]))
    assert torch.equal(states[0], states[1])
    assert not torch.equal(states[0], states[2])
    assert see(model, torch.zeros(2, 3, 32, 32)).shape == (2, 17, 24)
    for changes, words in (
        ({"weights": "somewhere"}, "the encoder `scratch` loads none"),
        ({"num_heads": 5}, "width: 24 is not a multiple of num_heads, 5"),
        ({"image_size_px": 30}, "image_size_px: 30 is not a multiple of patch_size_px, 8"),
    ):
        with pytest.raises(ModelError, match=words):
            encoders.build(make_settings("scratch", **changes))


# Any model of transformers --------------------------------------------------------------------------------------------


def make_vit() -> Any:
    return ViTModel(ViTConfig(**SIZES, intermediate_size=48))


def make_dinov2() -> Any:
    return Dinov2Model(Dinov2Config(**SIZES, mlp_ratio=2))


def make_clip_vision() -> Any:
    return CLIPVisionModel(CLIPVisionConfig(**SIZES, intermediate_size=48))


@pytest.mark.parametrize("make", [make_vit, make_dinov2, make_clip_vision])
def test_pretrained_gives_the_weights_of_a_folder(make: Any, tmp_path: Path) -> None:
    model = make()
    model.save_pretrained(tmp_path)
    loaded = encoders.build(make_settings("pretrained", weights=str(tmp_path)))
    pixels = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(see(loaded, pixels), see(model, pixels))
    assert see(loaded, pixels).shape == (2, 17, 24)
    assert type(AutoModel.from_config(loaded.config)) is type(loaded)  # so that a saved LLaVA builds it again


def test_the_vision_tower_of_a_whole_clip_is_loaded(tmp_path: Path) -> None:
    tower = make_clip_vision()
    config = CLIPConfig(
        text_config={"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "vocab_size": 9},
        vision_config=tower.config.to_dict(),
    )
    whole = CLIPModel(config)
    whole.save_pretrained(tmp_path)
    loaded = encoders.build(make_settings("pretrained", weights=str(tmp_path)))
    pixels = torch.randn(1, 3, 32, 32)
    expected = whole.vision_model(pixel_values=pixels, output_hidden_states=True).hidden_states[-1]
    torch.testing.assert_close(see(loaded, pixels), expected.detach())


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
    make_vit().save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=words):
        encoders.build(make_settings("pretrained", **{"weights": str(tmp_path), **changes}))


@pytest.mark.parametrize("encoder", ["pretrained", "biomedclip"])
def test_weights_that_can_not_be_loaded_are_one_line(
    encoder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    for weights in (str(tmp_path), "nobody/nothing"):
        with pytest.raises(ModelError, match=f"train.vision.weights: {weights}: ") as caught:
            encoders.build(make_settings(encoder, weights=weights))
        assert "\n" not in str(caught.value)


# BiomedCLIP: timm's ViT, written by hand -------------------------------------------------------------------------


def draw_checkpoint(width: int = 24, num_layers: int = 2) -> dict[str, Tensor]:
    """A checkpoint as open_clip saves one, small: a timm ViT under `visual.trunk.`, a head and a text tower."""
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return 0.2 * torch.randn(shape, generator=generator)

    trunk = {
        "cls_token": draw(1, 1, width),
        "pos_embed": draw(1, 17, width),
        "patch_embed.proj.weight": draw(width, 3, 8, 8),
        "patch_embed.proj.bias": draw(width),
        "norm.weight": draw(width),
        "norm.bias": draw(width),
    }
    for layer in range(num_layers):
        sizes = {"norm1": (width,), "norm2": (width,), "attn.qkv": (3 * width, width), "attn.proj": (width, width),
                 "mlp.fc1": (4 * width, width), "mlp.fc2": (width, 4 * width)}  # fmt: skip
        for name, shape in sizes.items():
            trunk[f"blocks.{layer}.{name}.weight"] = draw(*shape)
            trunk[f"blocks.{layer}.{name}.bias"] = draw(shape[0])
    others = {"visual.head.proj.weight": draw(8, width), "text.proj.weight": draw(8, 8), "logit_scale": draw(1)[0]}
    return {**{f"visual.trunk.{name}": tensor for name, tensor in trunk.items()}, **others}


def see_like_timm(checkpoint: dict[str, Tensor], pixels: Tensor, num_heads: int) -> tuple[Tensor, Tensor]:
    """timm's `vit_base_patch16_224` from its paper: tokens before and after the last normalization."""
    weights = {name.removeprefix("visual.trunk."): tensor for name, tensor in checkpoint.items()}

    def linear(name: str, tokens: Tensor) -> Tensor:
        return functional.linear(tokens, weights[f"{name}.weight"], weights[f"{name}.bias"])

    def norm(name: str, tokens: Tensor) -> Tensor:
        return functional.layer_norm(
            tokens, tokens.shape[-1:], weights[f"{name}.weight"], weights[f"{name}.bias"], 1e-6
        )

    patches = functional.conv2d(pixels, weights["patch_embed.proj.weight"], weights["patch_embed.proj.bias"], stride=8)
    tokens = patches.flatten(2).transpose(1, 2)
    tokens = torch.cat([weights["cls_token"].expand(len(pixels), -1, -1), tokens], dim=1) + weights["pos_embed"]
    num_rows, length, width = tokens.shape
    for layer in range(2):
        block = f"blocks.{layer}"
        fused = linear(f"{block}.attn.qkv", norm(f"{block}.norm1", tokens))
        query, key, value = fused.reshape(num_rows, length, 3, num_heads, width // num_heads).permute(2, 0, 3, 1, 4)
        share = (query @ key.transpose(-2, -1) / math.sqrt(width // num_heads)).softmax(dim=-1)
        mixed = (share @ value).transpose(1, 2).reshape(num_rows, length, width)
        tokens = tokens + linear(f"{block}.attn.proj", mixed)
        hidden = nn.functional.gelu(linear(f"{block}.mlp.fc1", norm(f"{block}.norm2", tokens)))
        tokens = tokens + linear(f"{block}.mlp.fc2", hidden)
    return tokens, norm("norm", tokens)


@pytest.mark.parametrize("is_pickled", [True, False])
def test_biomedclip_sees_what_timm_sees(is_pickled: bool, tmp_path: Path) -> None:
    checkpoint = draw_checkpoint()
    if is_pickled:
        torch.save(checkpoint, tmp_path / "open_clip_pytorch_model.bin")
    else:
        save_file(checkpoint, tmp_path / "open_clip_model.safetensors")
    model = encoders.build(make_settings("biomedclip", weights=str(tmp_path)))
    pixels = torch.randn(2, 3, 32, 32)
    before, after = see_like_timm(checkpoint, pixels, num_heads=3)
    torch.testing.assert_close(see(model, pixels), before, atol=1e-5, rtol=1e-5)
    with torch.no_grad():
        torch.testing.assert_close(model(pixel_values=pixels).last_hidden_state, after, atol=1e-5, rtol=1e-5)


def test_biomedclip_takes_every_tensor_and_no_unknown_one(tmp_path: Path) -> None:
    checkpoint = draw_checkpoint()
    assert len(biomedclip.select(checkpoint, "x")) == len(checkpoint) - 3

    def build(changed: dict[str, Tensor]) -> None:
        torch.save(changed, tmp_path / "open_clip_pytorch_model.bin")
        encoders.build(make_settings("biomedclip", weights=str(tmp_path)))

    with pytest.raises(ModelError, match=r"1 missing \(blocks.1.mlp.fc2.bias\)"):
        build({name: tensor for name, tensor in checkpoint.items() if name != "visual.trunk.blocks.1.mlp.fc2.bias"})
    with pytest.raises(ModelError, match=r"1 unknown \(blocks.0.ls1.gamma\)"):
        build({**checkpoint, "visual.trunk.blocks.0.ls1.gamma": torch.ones(1)})
    with pytest.raises(ModelError, match=r"unknown tensor decoder.weight"):
        build({**checkpoint, "decoder.weight": torch.ones(1)})
    with pytest.raises(ModelError, match=r"has no visual.trunk"):
        build({"logit_scale": torch.ones(1)})
    with pytest.raises(ModelError, match=r"image_size_px: 32, but .* has 16; set 16"):
        build({**checkpoint, "visual.trunk.pos_embed": torch.ones(1, 5, 24)})


def test_a_checkpoint_with_code_is_rejected(tmp_path: Path) -> None:
    torch.save({"visual.trunk.cls_token": Path("x")}, tmp_path / "open_clip_pytorch_model.bin")
    with pytest.raises(ModelError, match="only tensors and plain values are read"):
        encoders.build(make_settings("biomedclip", weights=str(tmp_path)))


def test_a_truncated_checkpoint_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "open_clip_pytorch_model.bin"
    torch.save(draw_checkpoint(), path)
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(ModelError, match="not a checkpoint, or truncated"):
        encoders.build(make_settings("biomedclip", weights=str(tmp_path)))
