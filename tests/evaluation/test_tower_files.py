import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import CLIPVisionModel, ResNetConfig, ResNetModel, ViTConfig, ViTMAEConfig, ViTMAEModel, ViTModel

from openmedq.config import Encoder
from openmedq.errors import ModelError
from openmedq.evaluation.towers import published
from openmedq.evaluation.towers.tower import Tower
from tests.evaluation.layouts import (
    GRID,
    SIDE,
    WIDTH,
    draw_clip,
    draw_plain_resnet,
    draw_timm,
    see_clip,
    see_plain_resnet,
    see_timm,
)
from tests.evaluation.test_towers import VIT, add_prefix, load, make_clip, make_pixels, pool

SIZES = {**VIT, "intermediate_size": 64}


def save_tensors(model: Any, path: Path, prefix: str = "") -> None:
    model.config.save_pretrained(path.parent)
    torch.save({f"{prefix}{name}": tensor for name, tensor in model.state_dict().items()}, path)


def see(tower: Tower) -> tuple[Tensor, Tensor]:
    return pool(tower, make_pixels(tower.preprocessing.side_px))


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin", "any.pt"])
def test_a_single_file_of_transformers_beside_its_config(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = make_clip().eval()
    if name.endswith("safetensors"):
        model.save_pretrained(tmp_path)
    else:
        save_tensors(model, tmp_path / name)
        torch.save({"other": torch.ones(2)}, tmp_path / "decoy.bin")
    tower = load(tmp_path / name)
    with torch.no_grad():
        output = model.vision_model(pixel_values=make_pixels(), output_hidden_states=True)
    tokens = output.hidden_states[-1]
    for found, expected in zip(see(tower), (tokens[:, 0], tokens[:, 1:].mean(dim=1)), strict=True):
        torch.testing.assert_close(found, expected)
    assert isinstance(tower.network, CLIPVisionModel) and tower.preprocessing.mean == published.CLIP_MEAN


HEADS_32 = {"width": WIDTH, "head_width": 32}


def test_a_size_that_the_config_contradicts(tmp_path: Path) -> None:
    torch.save(add_prefix(draw_timm(), "visual.trunk."), tmp_path / "open_clip_pytorch_model.bin")
    tree: dict[str, Any] = {"preprocess_cfg": {"mean": [0, 0, 0], "std": [1, 1, 1]}}
    for size in (SIDE, [SIDE, SIDE], 224):
        tree["model_cfg"] = {"vision_cfg": {"image_size": size}}
        (tmp_path / "open_clip_config.json").write_text(json.dumps(tree), encoding="utf-8")
        if size != 224:
            assert load(tmp_path).preprocessing[:3] == (SIDE, (0, 0, 0), (1, 1, 1))
    with pytest.raises(ModelError, match=r"position embeddings fit images of 24 px, but its config has 224 px"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("model", "num_heads", "is_quick"),
    [(None, 2, True), ({"quick_gelu": True}, 2, True), ({}, 2, False), ({"vision_cfg": HEADS_32}, 4, False)],
)
def test_a_vit_of_open_clip_has_the_activation_and_the_heads_of_its_config(
    model: Any, num_heads: int, is_quick: bool, tmp_path: Path
) -> None:
    tensors = draw_clip()
    torch.save(add_prefix(tensors, "visual."), tmp_path / "open_clip_pytorch_model.bin")
    if model is not None:
        (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": model}), encoding="utf-8")
    expected = see_clip(tensors, make_pixels(), num_heads=num_heads, is_quick=is_quick)
    for found, right in zip(pool(load(tmp_path), make_pixels()), expected, strict=True):
        torch.testing.assert_close(found, right, atol=2e-5, rtol=2e-4)


@pytest.mark.parametrize("prefix", ["", "module.", "module._orig_mod."])
def test_shards_of_transformers(prefix: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = ViTModel(ViTConfig(**SIZES)).eval()
    model.config.save_pretrained(tmp_path)
    state = {f"{prefix}{name}": tensor for name, tensor in model.state_dict().items()}
    names = {name: f"pytorch_model-{number % 2}.bin" for number, name in enumerate(state)}
    for file in set(names.values()):
        torch.save({name: tensor for name, tensor in state.items() if names[name] == file}, tmp_path / file)
    (tmp_path / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": names}), encoding="utf-8")
    with torch.no_grad():
        tokens = model(make_pixels(), output_hidden_states=True).hidden_states[-1]
    torch.testing.assert_close(see(load(tmp_path))[0], tokens[:, 0])
    (tmp_path / "pytorch_model-1.bin").unlink()
    with pytest.raises(FileNotFoundError, match=r"pytorch_model-1.bin"):
        load(tmp_path)


@pytest.mark.parametrize("num_convolutions", [2, 3])
@pytest.mark.parametrize("prefix", ["", "module.", "encoder."])
def test_a_resnet_of_torchvision_or_timm(
    num_convolutions: int, prefix: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tensors = draw_plain_resnet(num_convolutions)
    saved = add_prefix(tensors, prefix) | {f"{prefix}fc.weight": torch.ones(3, 2)}
    torch.save(saved, tmp_path / "pytorch_model.bin")
    tower = load(tmp_path)
    assert tower.preprocessing[:2] == (224, (0.485, 0.456, 0.406))
    assert "no config.json with mean and std of pixels; using 0.485, 0.456, 0.406 and 0.229" in caplog.text
    tree = {"pretrained_cfg": {"input_size": [3, 64, 64], "mean": [0.1, 0.2, 0.3], "std": [1, 2, 3]}}
    (tmp_path / "config.json").write_text(json.dumps(tree), encoding="utf-8")
    tower = load(tmp_path)
    assert tower.preprocessing[:3] == (64, (0.1, 0.2, 0.3), (1, 2, 3))
    for found, right in zip(see(tower), see_plain_resnet(tensors, make_pixels(64)), strict=True):
        torch.testing.assert_close(found, right, atol=2e-5, rtol=2e-4)
    for other in ({"architecture": "resnetblur50"}, {"architecture": "resnet18", "model_args": {"act_layer": "silu"}}):
        (tmp_path / "config.json").write_text(json.dumps(tree | other), encoding="utf-8")
        with pytest.raises(ModelError, match=r"its config has (resnetblur50|act_layer), which is not supported"):
            load(tmp_path)
    (tmp_path / "config.json").unlink()
    torch.save(saved | {f"{prefix}layer1.0.se.weight": torch.ones(2)}, tmp_path / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"tensors of the image encoder: 1 unknown .layer1.0.se.weight.$"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("stated", "mean", "std"),
    [
        ({"do_normalize": False}, (0, 0, 0), (1, 1, 1)),
        ({"image_mean": 0.5, "image_std": 0.25}, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)),
        ({"rescale_factor": 2 / 255, "image_mean": [1, 1, 1]}, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)),
        ({"do_rescale": False, "image_mean": [51, 51, 51], "image_std": 255}, (0.2, 0.2, 0.2), (1, 1, 1)),
    ],
)
def test_pixels_are_those_of_the_folders_processor(stated: Any, mean: Any, std: Any, tmp_path: Path) -> None:
    ViTModel(ViTConfig(**SIZES)).save_pretrained(tmp_path)
    tree = {"image_processor_type": "ViTImageProcessor", "size": {"height": SIDE, "width": SIDE}}
    tree |= {"image_std": [0.5, 0.5, 0.5], **stated}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(tree), encoding="utf-8")
    tower = load(tmp_path)
    assert tower.preprocessing[1:3] == (pytest.approx(mean), pytest.approx(std))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"image_mean": [0.1,', r"preprocessor_config.json: not JSON: "),
        ('{"image_mean": null, "do_normalize": true}', r"has mean .None, .* and std .*; expected three numbers each"),
        ('{"image_std": [0, 0, 0]}', r"std .0, 0, 0.; expected three numbers each, of std above 0"),
        ('{"size": {"longest_edge": 9}}', r"has no size of images; add it to preprocessor_config.json"),
    ],
)
def test_a_preprocessing_that_cannot_be_used(text: str, words: str, tmp_path: Path) -> None:
    ResNetModel(ResNetConfig(embedding_size=8, hidden_sizes=[8, 8], depths=[1, 1])).save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(
        '{"image_processor_type": "ViTImageProcessor", ' + text[1:], encoding="utf-8"
    )
    with pytest.raises(ModelError, match=words):
        load(tmp_path)


@pytest.mark.parametrize("prefix", ["", "module.", "encoder."])
def test_a_vit_of_timm_without_open_clip_has_the_preprocessing_of_timm(
    prefix: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tensors = draw_timm()
    torch.save({f"{prefix}{name}": tensor for name, tensor in tensors.items()}, tmp_path / "pytorch_model.bin")
    tower = load(tmp_path)
    assert tower.preprocessing.mean == tower.preprocessing.std == (0.5, 0.5, 0.5)
    assert "no config.json with mean and std of pixels; using 0.5" in caplog.text
    tree = {"architecture": "vit_tiny", "pretrained_cfg": {"input_size": [3, SIDE, SIDE], "mean": [0.1, 0.2, 0.3]}}
    tree["pretrained_cfg"] |= {"std": [1, 2, 3], "interpolation": "bilinear"}
    (tmp_path / "config.json").write_text(json.dumps(tree), encoding="utf-8")
    tower = load(tmp_path)
    assert tower.preprocessing == (SIDE, (0.1, 0.2, 0.3), (1, 2, 3), 2)
    torch.testing.assert_close(see(tower)[0], see_timm(tensors, make_pixels())[0], atol=2e-5, rtol=2e-4)
    # A model that pools its patches, beside an older config.
    renamed = {f"fc_{name}" if name.startswith("norm.") else name: tensor for name, tensor in tensors.items()}
    torch.save(renamed, tmp_path / "pytorch_model.bin")
    (tmp_path / "config.json").write_text(json.dumps(tree.pop("pretrained_cfg") | tree), encoding="utf-8")
    tower = load(tmp_path)
    assert tower.preprocessing[:3] == (SIDE, (0.1, 0.2, 0.3), (1, 2, 3))
    torch.testing.assert_close(see(tower)[1], see_timm(tensors, make_pixels())[1], atol=2e-5, rtol=2e-4)


def test_a_masked_autoencoder_sees_all_patches(tmp_path: Path) -> None:
    torch.manual_seed(0)
    ViTMAEModel(ViTMAEConfig(**SIZES)).save_pretrained(tmp_path)
    tower = load(tmp_path)
    for first, second in zip(see(tower), see(tower), strict=True):
        torch.testing.assert_close(first, second)
    assert tower.network.embeddings(make_pixels())[0].shape[1] == 1 + GRID**2


class Hostile:
    """Runs code where a pickle of it is loaded."""

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return exec, ("import pathlib; pathlib.Path('executed').touch()",)


def write_hostile(folder: Path) -> None:
    torch.save({"state_dict": Hostile()}, folder / "checkpoint.pt")


def write_hostile_transformers(folder: Path) -> None:
    ViTConfig(**SIZES).save_pretrained(folder)
    torch.save({"embeddings.cls_token": Hostile()}, folder / "pytorch_model.bin")


def write_remote_code(folder: Path) -> None:
    tree = {"model_type": "custom", "auto_map": {"AutoConfig": "code.Config", "AutoModel": "code.Model"}}
    (folder / "config.json").write_text(json.dumps(tree), encoding="utf-8")
    (folder / "code.py").write_text("import pathlib; pathlib.Path('executed').touch()", encoding="utf-8")
    torch.save({"x": torch.ones(1)}, folder / "pytorch_model.bin")


def write_other_shape(folder: Path) -> None:
    model = ViTModel(ViTConfig(**SIZES))
    model.embeddings.position_embeddings = torch.nn.Parameter(torch.ones(1, 5, WIDTH))
    save_tensors(model, folder / "pytorch_model.bin")


def write_no_config(folder: Path) -> None:
    torch.save(make_clip().state_dict(), folder / "pytorch_model.bin")


def write_pointer(folder: Path) -> None:
    ViTConfig(**SIZES).save_pretrained(folder)
    (folder / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")


def write_not_finite(folder: Path) -> None:
    model = ViTModel(ViTConfig(**SIZES))
    model.embeddings.cls_token.data[:] = torch.nan
    model.save_pretrained(folder)


def write_quantized(folder: Path) -> None:
    model = ViTModel(ViTConfig(**SIZES))
    tensors = {
        name: tensor.to(torch.int8) if tensor.ndim == 2 else tensor for name, tensor in model.state_dict().items()
    }
    save_file(tensors, folder / "model.safetensors")


def write_sparse(folder: Path) -> None:
    torch.save({"cls_token": torch.ones(1, 2).to_sparse()}, folder / "checkpoint.pt")


def write_no_weights(folder: Path) -> None:
    ViTConfig(**SIZES).save_pretrained(folder)


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (write_hostile, r"checkpoint.pt: is damaged, or has other objects than tensors and plain"),
        (write_hostile_transformers, r"pytorch_model.bin: is damaged, or has other objects than tensors and plain"),
        (write_remote_code, r"can't be loaded: .*custom code"),
        (write_other_shape, r"position_embeddings has shape \(1, 5, 128\); expected \(1, 10, 128\)$"),
        (write_no_config, r"has tensor names of transformers, but no config.json beside it; add that file$"),
        (write_pointer, r'model.safetensors is a Git LFS pointer, not a checkpoint; run "git lfs pull" in \S*weights$'),
        (write_not_finite, r"weights: the features of an image are not finite numbers; get the weights again$"),
        (write_quantized, r"model.safetensors: \S+weight is int8: quantized or sparse; save the tensors as dense bf16"),
        (write_sparse, r"checkpoint.pt: cls_token is sparse_coo: quantized or sparse"),
        (write_no_weights, r"can't be loaded: .*no file named model.safetensors, or pytorch_model.bin"),
    ],
)
def test_a_folder_that_is_refused(
    write: Any, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "weights").mkdir()
    write(tmp_path / "weights")
    with pytest.raises(ModelError, match=words) as caught:
        published.load(Encoder(weights=str(tmp_path / "weights")), "transfer.encoders.any")
    assert "\n" not in str(caught.value) and "\x1b" not in str(caught.value)
    assert not (tmp_path / "executed").exists() and "[y/N]" not in capfd.readouterr().out
