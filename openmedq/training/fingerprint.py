"""The fingerprint of a training: what decides whether a checkpoint belongs to it."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
import transformers
from torch import nn

from openmedq import model, paths, training
from openmedq.config import Train
from openmedq.config.learning import ROUNDING, identify
from openmedq.storage.tables import INDEX
from openmedq.training.devices import Devices

NUM_PICKED = 64  # values per tensor


def compute(settings: Train, learner: nn.Module, index: pa.Table, devices: Devices) -> dict[str, str]:
    """Return a digest for each part: data, settings, weights (initial), code, versions, devices, each of ROUNDING."""
    folders = (model.__path__[0], training.__path__[0])
    return {
        "data": _hash([INDEX.read_bytes(), *_read_footers(index)]),
        "settings": hash_settings(settings),
        "weights": _hash(pick_values(learner)),
        "code": _hash(path.read_bytes() for folder in folders for path in sorted(Path(folder).rglob("*.py"))),
        "versions": f"torch {torch.__version__}, transformers {transformers.__version__}",
        "devices": f"{devices.num} {devices.device.type}, {torch.get_num_threads()} threads",
        **{name: str(getattr(settings, name)) for name in ROUNDING},
    }


def _hash(parts: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "little") + part)
    return digest.hexdigest()


def _read_footers(index: pa.Table) -> Iterable[bytes]:
    """Yield the Parquet footers of the index's shards: sizes and smallest and largest values of all pages."""
    shards = (
        index.group_by(["source", "shard"]).aggregate([]).sort_by([("source", "ascending"), ("shard", "ascending")])
    )
    for source, shard in zip(shards["source"].to_pylist(), shards["shard"].to_pylist(), strict=True):
        with (paths.SAMPLES / source / shard).open("rb") as file:
            file.seek(-8, 2)
            size = int.from_bytes(file.read(4), "little")
            file.seek(-8 - size, 2)
            yield file.read(size)


def hash_settings(settings: Train) -> str:
    """Digest of what is not the default, so that a setting that a newer version adds changes no fingerprint."""
    return _hash([json.dumps(identify(settings.model_dump(mode="json", exclude_defaults=True))).encode()])


def pick_values(learner: nn.Module) -> Iterable[bytes]:
    """Yield names, types, shapes and some values of all tensors: enough to tell other weights."""
    for name, tensor in sorted(learner.state_dict().items()):
        flat = tensor.detach().flatten()
        num = min(NUM_PICKED, len(flat))
        # Whole numbers: float32 has no odd numbers above 2^24, and large embeddings have more elements.
        places = torch.arange(num, device=flat.device) * (len(flat) - 1) // max(1, num - 1)
        yield f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode()
        yield np.asarray(flat[places].float().cpu()).tobytes()
