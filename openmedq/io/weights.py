"""The header of safetensors: a text is put into the metadata of weights that are written already.

The format (huggingface.co/docs/safetensors): 8 bytes with the header's length, little-endian; the header, a JSON object
padded with spaces; the tensors, addressed from the header's end, so that they do not change.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

_ALIGNMENT = 8  # of the tensors, in bytes


def add_metadata(path: Path, key: str, text: str) -> None:
    """Put a text into the metadata of a file, which is copied once, by blocks, and replaced."""
    aside = path.with_name(f"{path.name}.partial")
    with path.open("rb") as old, aside.open("wb") as new:
        header = json.loads(old.read(int.from_bytes(old.read(8), "little")))
        header["__metadata__"] = dict(sorted({**header.get("__metadata__", {}), key: text}.items()))
        data = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        data += b" " * (-len(data) % _ALIGNMENT)
        new.write(len(data).to_bytes(8, "little") + data)
        shutil.copyfileobj(old, new, 2**20)
    aside.replace(path)
