"""Find and read published checkpoints: safetensors, or pickles of which only tensors are read."""

import json
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from openmedq.errors import ModelError, shorten
from openmedq.model import digests
from openmedq.storage import unexpected

SUFFIXES = (".safetensors", ".bin", ".pt", ".pth")
WRAPPERS = ("state_dict", "model_state_dict", "model")  # keys under which training scripts save the tensors
DATASETS = "datasets/"  # prefix of a repository of Hugging Face that is a dataset


def find(weights: str, revision: str | None, names: Sequence[str], where: str) -> Path:
    """Return the checkpoint file of a file, a folder or a Hugging Face id.

    In a folder, it is the first of `names` that exists, or else the only checkpoint. For an id, it is the first of
    `names` that can be downloaded.

    Raises:
        ModelError: there is none, or the download failed; the message begins with `where`.
    """
    path = Path(weights)
    if path.is_file():
        return path
    if path.is_dir():
        found = [path / name for name in names if (path / name).is_file()]
        others = sorted(file for file in path.iterdir() if file.suffix in SUFFIXES)
        if found or len(others) == 1:
            return (found or others)[0]
        which = f"{len(others)} files, of which none is {' or '.join(names)}" if others else "no checkpoint"
        raise ModelError(f"{where}: {path}: {which}; expected {' or '.join(names)}, or one file {' '.join(SUFFIXES)}")
    reasons = []
    for name in names:
        try:
            return _download(weights, name, revision)
        except Exception as error:  # no network, no such repository or file, no disk
            reasons.append(shorten(error))
    raise ModelError(f"{where}: {weights}: not a folder, and the download failed: {reasons[0]}")


def read(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a checkpoint in fp32 (integers as they are), without the wrappers of training scripts.

    Raises:
        ModelError: the file is no checkpoint, is truncated, or holds other objects than tensors and plain values.
    """
    with path.open("rb") as file:
        other = unexpected.describe(file.read(unexpected.HEAD_BYTES), str(path.parent))
    if other:
        raise ModelError(f"{path} is {other[0]}, not a checkpoint; {other[1]}")
    try:
        if path.suffix == ".safetensors":
            digests.check(path)
            tree: Any = load_file(path)
        else:
            with torch.serialization.safe_globals([Namespace]):
                tree = torch.load(path, map_location="cpu", weights_only=True)  # does not run pickled code
    except ModelError:
        raise
    except Exception as error:  # a damaged or hostile file may raise any; torch's text, not shown, advises to run code
        raise ModelError(
            f"{path}: is damaged, or has other objects than tensors and plain values, which may be code; get it again, "
            "or save the state dict of its model alone"
        ) from error
    while isinstance(tree, dict) and (wrapper := next((k for k in WRAPPERS if isinstance(tree.get(k), dict)), None)):
        tree = tree[wrapper]
    tensors = (
        {name: tensor for name, tensor in tree.items() if isinstance(tensor, Tensor)} if isinstance(tree, dict) else {}
    )
    if not tensors:
        raise ModelError(f"{path}: has no tensors; expected a state dict")
    for name, tensor in tensors.items():
        if tensor.layout is not torch.strided or (tensor.element_size() == 1 and tensor.dtype is not torch.bool):
            what = str(tensor.dtype if tensor.layout is torch.strided else tensor.layout).removeprefix("torch.")
            raise ModelError(f"{path}: {name} is {what}: quantized or sparse; save the tensors as dense bf16 or fp32")
    return {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}


def read_config(weights: str, revision: str | None, name: str) -> dict[str, Any]:
    """Return a JSON object beside the checkpoint, or {} if there is none."""
    path = Path(weights)
    if path.exists():
        file = (path if path.is_dir() else path.parent) / name
    else:
        try:
            file = _download(weights, name, revision)
        except Exception:  # the repository has none; other errors are reported when its checkpoint is downloaded
            return {}
    try:
        tree = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise ModelError(f"{file}: not JSON: {shorten(error)}; get it again") from error
    return tree if isinstance(tree, dict) else {}


def _download(weights: str, name: str, revision: str | None) -> Path:
    from huggingface_hub import hf_hub_download

    kind = "dataset" if weights.startswith(DATASETS) else "model"
    return Path(hf_hub_download(weights.removeprefix(DATASETS), name, revision=revision, repo_type=kind))
