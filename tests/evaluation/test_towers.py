"""Published encoders under one contract, each layout against the forward pass of its definition."""

from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import (
    Aimv2VisionConfig,
    Aimv2VisionModel,
    CLIPConfig,
    CLIPImageProcessorPil,
    CLIPModel,
    ConvNextConfig,
    ConvNextForImageClassification,
    Dinov2WithRegistersConfig,
    Dinov2WithRegistersModel,
    MetaClip2Config,
    MetaClip2Model,
    PixtralVisionConfig,
    PixtralVisionModel,
    SiglipConfig,
    SiglipModel,
    SwinConfig,
    SwinModel,
    ViTConfig,
    ViTForImageClassification,
    ViTForMaskedImageModeling,
)

from openmedq.config import Encoder
from openmedq.errors import ModelError
from openmedq.evaluation.towers import published, resnet
from openmedq.evaluation.towers.tower import Tower
from tests.evaluation.layouts import (
    GRID,
    PATCH,
    RESNET_SIDE,
    SIDE,
    WIDTH,
    Checkpoint,
    draw_clip,
    draw_resnet,
    draw_timm,
    pool_resnet,
    see_clip,
    see_resnet,
    see_timm,
)


def load(path: Path) -> Tower:
    return published.load(Encoder(weights=str(path)), "transfer.encoders.any")


def pool(tower: Tower, pixels: Tensor) -> tuple[Tensor, Tensor]:
    with torch.no_grad():
        first, second = tower.eval()(pixels)
    return first, second


def make_pixels(side: int = SIDE) -> Tensor:
    return torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(1))


OTHERS = {
    "logit_scale": torch.tensor(2.0),
    "text.proj.weight": torch.ones(3, 3),
    "transformer.resblocks.9.x": torch.ones(2),
}
LAYOUTS: dict[str, tuple[Any, Any, str, int]] = {
    "timm": (draw_timm, see_timm, "visual.trunk.", SIDE),
    "clip": (draw_clip, see_clip, "visual.", SIDE),
    "resnet": (draw_resnet, see_resnet, "visual.", RESNET_SIDE),
}


def add_prefix(tensors: Checkpoint, prefix: str) -> Checkpoint:
    return {f"{prefix}{name}": tensor for name, tensor in tensors.items()}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("form", ["official", "module", "bare", "fp16", "safetensors", "file", "no counters"])
def test_features_are_those_of_the_definition(layout: str, form: str, tmp_path: Path) -> None:
    draw, see, prefix, side = LAYOUTS[layout]
    tensors: Checkpoint = draw()
    saved = {**add_prefix(tensors, prefix), **OTHERS}
    name, wrap = {"timm": "open_clip_pytorch_model.bin", "clip": "PubMedCLIP_ViT32.pth", "resnet": "checkpoint.pt"}, {}
    path = tmp_path / name[layout]
    if form == "module":
        saved, wrap = add_prefix(saved, "module."), {"epoch": 3, "optimizer": {"state": {}}, "args": Namespace(lr=1e-4)}
    elif form == "bare":
        saved, path = dict(tensors), tmp_path / "any.pt"
    elif form == "fp16":
        saved = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in saved.items()}
        tensors = {name: t.half().float() if t.is_floating_point() else t for name, t in tensors.items()}
    elif form == "no counters":
        saved = {name: tensor for name, tensor in saved.items() if not name.endswith("num_batches_tracked")}
    if form == "safetensors":
        path = tmp_path / "model.safetensors"
        save_file(saved, path)
    else:
        torch.save({**wrap, "state_dict": saved} if wrap else saved, path)
    tower = load(path if form == "file" else tmp_path)
    assert tower.preprocessing.side_px == side
    assert tower.width == pool(tower, make_pixels(side))[0].shape[1]
    for found, expected in zip(pool(tower, make_pixels(side)), see(tensors, make_pixels(side)), strict=True):
        torch.testing.assert_close(found, expected, atol=2e-5, rtol=2e-4)
    if form != "bare":
        assert tower.preprocessing.mean == published.CLIP_MEAN


def test_pmc_clip_has_the_official_sizes_and_its_attention_pool(tmp_path: Path) -> None:
    tensors = draw_resnet(stem=64, outputs=768, grid=7)
    torch.save({"epoch": 1, "state_dict": add_prefix(tensors, "module.visual.")}, tmp_path / "checkpoint.pt")
    tower = load(tmp_path)
    assert (tower.width, tower.preprocessing.side_px) == (2048, 224)
    features = torch.randn(2, 2048, 7, 7, generator=torch.Generator().manual_seed(1))
    network: Any = tower.network
    with torch.no_grad():
        expected = pool_resnet(tensors, features, num_heads=32)
        torch.testing.assert_close(network.attnpool(features), expected, atol=2e-5, rtol=2e-4)
    assert expected.shape == (2, 768)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_each_tensor_is_needed_with_its_axes_and_no_other_is_taken(layout: str) -> None:
    draw, _, prefix, _ = LAYOUTS[layout]
    tensors = draw()
    skipped = published.UNUSED[{"timm": "cls_token", "clip": "class_embedding", "resnet": published.RESNET}[layout]]
    for name in [*tensors][:: 7 if layout == "resnet" else 1]:
        rest = {key: tensor for key, tensor in tensors.items() if key != name}
        if name.endswith("num_batches_tracked") or name in skipped:
            continue
        with pytest.raises(ModelError, match=r"has 0 image encoders|missing|expected one and a square"):
            take(rest, prefix)
        if name != "proj":
            with pytest.raises(ModelError):
                take({**tensors, name: torch.tensor(1.0)}, prefix)
    with pytest.raises(ModelError, match=r"^x: tensors of the image encoder: 1 unknown \(extra.weight\)$"):
        take({**tensors, "extra.weight": torch.ones(2)}, prefix)


def take(tensors: Checkpoint, prefix: str) -> None:
    saved = {**add_prefix(tensors, prefix), **OTHERS}
    layout, found = published._recognize(saved, "x")
    own = published._select(saved, layout, found, "x")
    if layout == published.RESNET:
        resnet.build(own, "x")
    else:
        published.layouts.build(
            published.layouts.CLIP if layout == "class_embedding" else published.layouts.TIMM, own, "x"
        )


@pytest.mark.parametrize(
    ("layout", "name", "words"),
    [
        ("timm", "pos_embed", r"pos_embed has 13 positions; expected one and a square grid"),
        ("clip", "positional_embedding", r"positional_embedding has 13 positions"),
        ("clip", "transformer.resblocks.0.attn.in_proj_weight", r"has shape \(13, 128\); expected 384 rows"),
        ("resnet", "conv3.weight", r"conv3.weight is missing, or does not have 4 axes"),
        ("resnet", "attnpool.positional_embedding", r"positional_embedding has 13 positions"),
        ("timm", "norm.weight", r"layernorm.weight has shape \(13, 128\); expected \(128,\)"),
        ("resnet", "layer1.0.conv1.weight", r"layer1.0.conv1.weight has shape \(13, 128\); expected \(4, 4, 1, 1\)"),
    ],
)
def test_a_tensor_of_another_shape_is_named(layout: str, name: str, words: str) -> None:
    draw, _, prefix, _ = LAYOUTS[layout]
    with pytest.raises(ModelError, match=words):
        take({**draw(), name: torch.ones(13, WIDTH)}, prefix)


@pytest.mark.parametrize("kind", ["absent", "truncated", "other", "several", "null"])
def test_weights_that_are_no_checkpoint_are_one_line(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    path = tmp_path / "checkpoint.pt"
    if kind == "truncated":
        torch.save(draw_clip(), path)
        path.write_bytes(path.read_bytes()[:5000])
    elif kind == "other":
        torch.save({"weight": torch.ones(2)}, path)
    elif kind == "several":
        for name in "ab":
            torch.save({"weight": torch.ones(2)}, tmp_path / f"{name}.pt")
    settings = Encoder(weights={"null": None, "absent": "nobody/nothing"}.get(kind, str(tmp_path)))
    with pytest.raises(ModelError) as caught:
        published.load(settings, "transfer.encoders.any")
    assert "\n" not in str(caught.value)
    assert str(tmp_path) in str(caught.value) or str(caught.value).startswith("transfer.encoders.any.weights: n")


VIT = {"hidden_size": WIDTH, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": SIDE, "patch_size": PATCH}
TEXT = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "vocab_size": 9, "intermediate_size": 8}


def make_clip() -> Any:
    vision = {**VIT, "intermediate_size": 64, "projection_dim": 8}
    return CLIPModel(CLIPConfig(text_config={**TEXT, "projection_dim": 8}, vision_config=vision, projection_dim=8))


MAKERS: dict[str, Any] = {
    "clip": make_clip,
    "siglip": lambda: SiglipModel(SiglipConfig(text_config=TEXT, vision_config={**VIT, "intermediate_size": 64})),
    "aimv2": lambda: Aimv2VisionModel(Aimv2VisionConfig(**VIT, intermediate_size=64)),  # its head has a class token
    "metaclip": lambda: MetaClip2Model(MetaClip2Config(text_config=TEXT, vision_config=VIT)),
    "masked vit": lambda: ViTForMaskedImageModeling(ViTConfig(**VIT, intermediate_size=64, encoder_stride=PATCH)),
    "vit with a head": lambda: ViTForImageClassification(ViTConfig(**VIT, intermediate_size=64)),
    "registers": lambda: Dinov2WithRegistersModel(Dinov2WithRegistersConfig(**VIT, mlp_ratio=2)),
    "swin": lambda: SwinModel(
        SwinConfig(image_size=32, patch_size=4, embed_dim=8, depths=[1, 1], num_heads=[2, 2], window_size=2)
    ),
    "convnext with a head": lambda: ConvNextForImageClassification(
        ConvNextConfig(hidden_sizes=[8, 8, 16, 24], depths=[1, 1, 1, 1], image_size=64)
    ),
}


@pytest.mark.parametrize("name", MAKERS)
def test_any_vision_model_of_transformers(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = MAKERS[name]().eval()
    model.save_pretrained(tmp_path)
    tower = load(tmp_path)
    pixels = make_pixels(tower.preprocessing.side_px)
    inner = getattr(model, "vision_model", getattr(model, "base_model", model))
    with torch.no_grad():
        output = inner(pixel_values=pixels, output_hidden_states=True)
    if name in ("siglip", "swin", "aimv2"):
        features = output.last_hidden_state.mT
        expected = features.mean(dim=2), features.amax(dim=2)
    elif name.startswith("convnext"):
        expected = output.last_hidden_state.mean(dim=(2, 3)), output.last_hidden_state.amax(dim=(2, 3))
    else:
        tokens, num_prefix = output.hidden_states[-1], 5 if name == "registers" else 1
        assert tokens.shape[1] == num_prefix + GRID**2
        expected = tokens[:, 0], tokens[:, num_prefix:].mean(dim=1)
    for found, right in zip(pool(tower, pixels), expected, strict=True):
        torch.testing.assert_close(found, right)


def test_a_model_whose_images_are_one_sequence_is_refused(tmp_path: Path) -> None:
    PixtralVisionModel(PixtralVisionConfig(**VIT, intermediate_size=64, head_dim=WIDTH // 2)).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"can't encode RGB images of 24 x 24 px: it returns the features of 1 in"):
        load(tmp_path)


def test_another_size_of_images(tmp_path: Path) -> None:
    MAKERS["registers"]().save_pretrained(tmp_path / "dinov2")
    tower = load(tmp_path / "dinov2").resize(SIDE * 2, "dinov2")
    assert tower.preprocessing.side_px == SIDE * 2
    assert tower.width == WIDTH
    make_clip().save_pretrained(tmp_path / "clip")
    with pytest.raises(ModelError, match=rf"^clip: can't encode RGB images of {SIDE * 2} x {SIDE * 2} px: "):
        load(tmp_path / "clip").resize(SIDE * 2, "clip")


def test_the_preprocessing_of_a_folder(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    make_clip().save_pretrained(tmp_path)
    assert load(tmp_path).preprocessing[:2] == (SIDE, published.CLIP_MEAN)
    assert "no usable preprocessor_config.json; using mean" in caplog.text
    size = {"height": SIDE, "width": SIDE}
    CLIPImageProcessorPil(size=size, crop_size=size, image_mean=[0.1, 0.2, 0.3], image_std=[1, 2, 3]).save_pretrained(
        tmp_path
    )
    assert load(tmp_path).preprocessing[:3] == (SIDE, (0.1, 0.2, 0.3), (1, 2, 3))
    size = {"height": 48, "width": 48}
    CLIPImageProcessorPil(size=size, crop_size=size).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"can't encode RGB images of 48 x 48 px"):
        load(tmp_path)


def test_a_folder_of_transformers_with_a_tensor_less_or_more(tmp_path: Path) -> None:
    model = make_clip()
    state = model.state_dict()
    model.save_pretrained(tmp_path, state_dict={k: v for k, v in state.items() if "post_layernorm.bias" not in k})
    with pytest.raises(ModelError, match=r"1 missing \(\S*post_layernorm.bias\)"):
        load(tmp_path)
    model.save_pretrained(
        tmp_path, state_dict={**state, "vision_model.encoder.layers.2.layer_norm1.bias": torch.ones(2)}
    )
    with pytest.raises(ModelError, match=r"1 unknown \(encoder.layers.2.layer_norm1.bias\)"):
        load(tmp_path)
