"""Results of a stage that are kept until it ends: after a kill they are used again if their inputs are unchanged."""

import hashlib
import json
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
import transformers

from openmedq import evaluation
from openmedq import model as models
from openmedq.errors import StaleError
from openmedq.evaluation.towers.tower import Tower
from openmedq.storage.publish import replacing
from openmedq.storage.tables import read_table, write_table

_log = logging.getLogger(__name__)


def keep(path: Path, facts: Sequence[Any], schema: pa.Schema, make: Callable[[], pa.Table]) -> pa.Table:
    """Return the table that an earlier process has kept, or make and keep it.

    `facts` are plain values: rows, settings and `digest_tower`. A digest of them, of the code and of versions completes
    the file's name, `path`.
    """
    digest = hashlib.sha256(json.dumps([*facts, torch.__version__, transformers.__version__]).encode())
    for package in (evaluation, models):
        for file in sorted(Path(package.__path__[0]).rglob("*.py")):
            digest.update(file.read_bytes())
    whole = path.with_name(f"{path.name}-{digest.hexdigest()[:32]}.parquet")
    try:
        table = read_table(whole, schema)
    except StaleError:  # there is none
        table = make()
        with replacing(whole) as unfinished:
            write_table(table, unfinished)
    else:
        _log.info("%s: using the table that an earlier process has computed", path.name)
    return table


def digest_tower(tower: Tower) -> str:
    """Digest an encoder: its structure, preprocessing and weights."""
    digest = hashlib.sha256(json.dumps([tower.preprocessing, str(tower.network)]).encode())
    for name, tensor in sorted(tower.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
