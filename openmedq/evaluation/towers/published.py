"""Load a published image encoder: its layout is recognized by its files and the names of its tensors.

    config.json with `model_type`       any vision model of transformers, alone or within a CLIP-like model
    `attnpool.positional_embedding`     CLIP's modified ResNet, as PMC-CLIP's `checkpoint.pt`
    `class_embedding`                   OpenAI CLIP's ViT, as PubMedCLIP's `PubMedCLIP_ViT32.pth`
    `layer1.0.conv1.weight` alone       the ResNet of torchvision and timm
    `cls_token`                         timm's ViT, as BiomedCLIP's under `visual.trunk.`

The names may have any prefix (`module.visual.`, `visual.`, none). All tensors with this prefix belong to the image
encoder: none may be missing or left over. Other tensors, such as those of text encoders, are not used.
"""

import logging
import math
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL.Image import Resampling
from torch import Tensor
from transformers.utils import logging as transformers_logging

from openmedq.config import Encoder
from openmedq.errors import ModelError
from openmedq.evaluation.towers import plain_resnet, resnet
from openmedq.evaluation.towers.tower import Preprocessing, Tower, make_preprocessing
from openmedq.model import layouts, weights

FILES = (
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.bin",
    "model.safetensors",
    "pytorch_model.bin",
    "checkpoint.pt",
    "PubMedCLIP_ViT32.pth",
)
RESNET, CLIP, TIMM = "attnpool.positional_embedding", "class_embedding", "cls_token"
PLAIN_RESNET = "layer1.0.conv1.weight"  # CLIP's has it, too
# What follows the image encoder.
UNUSED: dict[str, Any] = {
    RESNET: (),
    CLIP: ("proj",),
    TIMM: ("head.", "head_dist."),
    PLAIN_RESNET: ("fc.",),
}
TRUNK, HEAD = "trunk.", "head."  # open_clip's names of a timm network and of what follows it
NAMES = ("model.safetensors", "pytorch_model.bin")  # of transformers
UNUSED_PARTS = {"pooler", "mask_token"}  # of models of transformers
TRANSFORMERS = "embeddings."  # where models of transformers have their class token

CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
HALF = (0.5, 0.5, 0.5)
# What changes a network of timm, but none of its tensors: architectures that blur before a stride, and arguments.
_BLURRED, _UNSEEN = re.compile("^resnet(?:aa|blur).*"), {"aa_layer", "act_layer", "output_stride"}

_log = logging.getLogger(__name__)


def load(settings: Encoder, where: str) -> Tower:
    """Load an encoder in fp32 from a file, a folder or a Hugging Face id (of a dataset repository: `datasets/...`).

    Raises:
        ModelError: the weights are missing or damaged, or a tensor is missing, left over, or of another shape.
    """
    if settings.weights is None:
        raise ModelError(f"{where}.weights: null; give a folder, a file or a Hugging Face id")
    config = weights.read_config(settings.weights, settings.revision, "config.json")
    label = f"{where}.weights: {settings.weights}"
    if "model_type" in config:
        return _load_transformers(settings, label)
    path = weights.find(settings.weights, settings.revision, FILES, f"{where}.weights")
    tensors = weights.read(path)
    layout, prefix = _recognize(tensors, label)
    own = _select(tensors, layout, prefix, label)
    stated = weights.read_config(settings.weights, settings.revision, "open_clip_config.json") | config
    odd = [*_BLURRED.findall(str(stated.get("architecture"))), *sorted(_UNSEEN & {*(stated.get("model_args") or {})})]
    if odd:
        raise ModelError(f"{label}: its config has {odd[0]}, which is not supported; choose other weights")
    if layout == RESNET:
        network: Any
        network, side_px = resnet.build(own, label)
    elif layout == PLAIN_RESNET:
        network = plain_resnet.build(own, label)
        side_px = ((stated.get("pretrained_cfg") or stated).get("input_size") or [plain_resnet.SIDE_PX])[-1]
    else:
        names = layouts.CLIP if layout == CLIP else layouts.TIMM
        is_quick = "model_cfg" not in stated or _model_of(stated).get("quick_gelu", False)  # without a config: OpenAI's
        network = layouts.build(names, own, label, _count_heads(stated), is_quick=is_quick)
        side_px = network.config.image_size
    usual = (CLIP_MEAN, CLIP_STD)
    if layout == PLAIN_RESNET or (layout == TIMM and not prefix.endswith(TRUNK)):
        usual = (plain_resnet.MEAN, plain_resnet.STD) if layout == PLAIN_RESNET else (HALF, HALF)
        if not (stated.get("pretrained_cfg") or stated).get("mean"):
            mean, std = (", ".join(map(str, dict.fromkeys(each))) for each in usual)
            _log.warning(f"{label}: no config.json with mean and std of pixels; using {mean} and {std}, timm's usual")
    return Tower(network, _describe(stated, side_px, usual, label), label)


def _model_of(stated: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the settings of the model in open_clip's config."""
    return stated.get("model_cfg") or {}


def _count_heads(stated: Mapping[str, Any]) -> int | None:
    """Return the number of heads in a config of timm or open_clip; None if there is none."""
    vision = _model_of(stated).get("vision_cfg") or {}
    if vision.get("width") and vision.get("head_width"):
        return int(vision["width"] // vision["head_width"])
    num_heads: int | None = (stated.get("model_args") or {}).get("num_heads")
    return num_heads


def _recognize(tensors: Mapping[str, Tensor], where: str) -> tuple[str, str]:
    """Return the layout and the prefix of the image encoder's tensors."""
    found = [
        (layout, name.removesuffix(layout))
        for name in tensors
        for layout in (RESNET, CLIP, TIMM, PLAIN_RESNET)
        if name == layout or name.endswith(f".{layout}")
    ]
    if any(layout != PLAIN_RESNET for layout, _ in found):
        found = [each for each in found if each[0] != PLAIN_RESNET]
    if len(found) != 1:
        few = ", ".join(list(tensors)[:3])
        raise ModelError(
            f"{where}: has {len(found)} image encoders of a known layout; expected one tensor named {RESNET}, {CLIP}, "
            f"{TIMM} or {PLAIN_RESNET}, with any prefix; it has {len(tensors)} tensors: {few}, ..."
        )
    return found[0]


def _select(tensors: Mapping[str, Tensor], layout: str, prefix: str, where: str) -> dict[str, Tensor]:
    """Return the image encoder's tensors without the prefix."""
    if prefix.endswith(TRANSFORMERS):
        raise ModelError(f"{where}: has tensor names of transformers, but no config.json beside it; add that file")
    own = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
    own = {name: tensor for name, tensor in own.items() if not name.startswith(UNUSED[layout])}
    if layout == TIMM and "norm.weight" not in own:  # models of timm that pool the patches have it as fc_norm
        own = {f"norm.{name[8:]}" if name.startswith("fc_norm.") else name: tensor for name, tensor in own.items()}
    if prefix.endswith(TRUNK):
        outer = prefix.removesuffix(TRUNK)
        left = [name for name in tensors if name.startswith(outer) and not name.startswith((prefix, outer + HEAD))]
        layouts.compare({}, dict.fromkeys(left), where)
    return own


def _describe(stated: Mapping[str, Any], side_px: int, usual: tuple[Any, Any], where: str) -> Preprocessing:
    """Return the preprocessing in a config of timm or open_clip, with the `usual` mean and std if it has none."""
    # timm's older configs have no inner object.
    tree: Mapping[str, Any] = stated.get("pretrained_cfg") or stated.get("preprocess_cfg") or stated
    image_size = (_model_of(stated).get("vision_cfg") or {}).get("image_size")
    preprocess_size = tree.get("size") if tree is not stated else None
    for size in ((tree.get("input_size") or [])[-2:], preprocess_size, image_size):
        for stated_px in size if isinstance(size, list) else [size]:
            if stated_px not in (None, side_px):
                raise ModelError(
                    f"{where}: its position embeddings fit images of {side_px} px, but its config has {stated_px} px; "
                    "correct the config"
                )
    mean, std = usual
    resample = Resampling.__members__.get(str(tree.get("interpolation") or "bicubic").upper())
    return make_preprocessing(side_px, tree.get("mean") or mean, tree.get("std") or std, resample, where)


def _load_transformers(settings: Encoder, where: str) -> Tower:
    import torch
    import transformers
    from transformers import MODEL_MAPPING, AutoConfig

    path = Path(str(settings.weights))
    name = str(path.parent if path.is_file() else settings.weights)
    source: dict[str, Any] = {
        "pretrained_model_name_or_path": name,
        "revision": settings.revision,
        "trust_remote_code": False,
    }
    state = _read_local(path)
    try:
        config = AutoConfig.from_pretrained(**source)
        own = getattr(config, "vision_config", None) or config
        of_config = type(own).__name__
        kind: Any = MODEL_MAPPING.get(type(own), getattr(transformers, of_config.replace("Config", "Model"), None))
        if kind is None:
            raise ValueError(f"transformers has no base model for {of_config}")
        if state is not None:
            source |= {"pretrained_model_name_or_path": None, "config": own, "state_dict": state}
        with _silence():
            network, info = kind.from_pretrained(
                **source, dtype=torch.float32, output_loading_info=True, ignore_mismatched_sizes=True
            )
    except Exception as error:  # missing folder, no network, damaged files, unknown models: many exception types
        raise ModelError(f"{where}: can't be loaded: {' '.join(str(error).split())[:200]}") from error
    for tensor, found, expected in sorted(info["mismatched_keys"]):
        raise ModelError(f"{where}: {tensor} has shape {tuple(found)}; expected {tuple(expected)}")
    missing = [name for name in info["missing_keys"] if not UNUSED_PARTS & {*name.split(".")}]
    children = tuple(f"{name}." for name, _ in network.named_children())
    base = [name.removeprefix(f"{network.base_model_prefix}.") for name in info["unexpected_keys"]]
    # Others belong to heads and text encoders.
    left = [name for name in base if name.startswith(children) and not UNUSED_PARTS & {*name.split(".")}]
    layouts.compare(dict.fromkeys(missing), dict.fromkeys(left), where)
    if hasattr(network.config, "mask_ratio"):
        network.config.mask_ratio = 0.0  # masked autoencoders would not see most patches
    return Tower(network, _read_processor(name, settings.revision, network.config, where), where)


def _read_local(path: Path) -> dict[str, Tensor] | None:
    """Return the tensors of a file, or of a folder with one file or with shards; None of an id."""
    files = [path] if path.is_file() else [path / name for name in NAMES if (path / name).is_file()][:1]
    for name in NAMES if path.is_dir() and not files else ():
        shards = weights.read_config(str(path), None, f"{name}.index.json").get("weight_map")
        files = files or [path / shard for shard in sorted(set(shards.values() if isinstance(shards, dict) else ()))]
    tensors = {name: tensor for file in files for name, tensor in weights.read(file).items()}
    # Prefixes of DistributedDataParallel and torch.compile.
    return {re.sub(r"^(?:module\.|_orig_mod\.)+", "", name): tensor for name, tensor in tensors.items()} or None


@contextmanager
def _silence() -> Iterator[None]:
    """Suppress transformers' list of tensors that are missing or left over, which is checked here."""
    verbosity = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)


def _read_processor(source: str, revision: str | None, config: Any, where: str) -> Preprocessing:
    """Return the preprocessing of a model of transformers, from its preprocessor_config.json or else its config."""
    from transformers import AutoImageProcessor

    size = getattr(config, "image_size", None)
    stated_px = size[0] if isinstance(size, (list, tuple)) else size
    tree = weights.read_config(source, revision, "preprocessor_config.json")
    try:
        options: Any = {"revision": revision, "trust_remote_code": False, "backend": "pil"}
        processor = AutoImageProcessor.from_pretrained(source, **options)
    except Exception as error:  # no file, no network, unknown kinds: many exception types
        if not stated_px:
            raise ModelError(
                f"{where}: no usable preprocessor_config.json, and no image_size in config.json; add one of them"
            ) from error
        is_clip = str(config.model_type).startswith("clip")
        usual = (CLIP_MEAN, CLIP_STD) if is_clip else (HALF, HALF)
        mean, std = (tree.get(f"image_{name}") or each for name, each in zip(("mean", "std"), usual, strict=True))
        _log.warning(f"{where}: no usable preprocessor_config.json; using mean {mean} and std {std} of pixels")
        return make_preprocessing(stated_px, mean, std, tree.get("resample"), where)
    crop = processor.crop_size if getattr(processor, "do_center_crop", False) else None
    shape = crop or processor.size or {}
    side_px = int(shape.get("height") or shape.get("shortest_edge") or stated_px or 0)
    mean, std = (processor.image_mean, processor.image_std) if processor.do_normalize else (0.0, 1.0)
    found = make_preprocessing(side_px, mean, std, processor.resample, where)
    scale = 255 * processor.rescale_factor if processor.do_rescale else 255
    if math.isclose(scale, 1):
        return found
    return found._replace(
        mean=tuple(value / scale for value in found.mean), std=tuple(value / scale for value in found.std)
    )
