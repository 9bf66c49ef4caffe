from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from openmedq.io.weights import add_metadata

TENSORS = {"a": torch.arange(7, dtype=torch.float32), "b": torch.ones(3, 5, dtype=torch.bfloat16), "c": torch.zeros(0)}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    save_file(TENSORS, tmp_path / "model.safetensors", metadata={"format": "pt"})
    return tmp_path / "model.safetensors"


@pytest.mark.parametrize("text", ["", "short", "a text longer than the padding", "μ \u2028 \U0001f9e0", '"}{\\'])
def test_a_text_is_added_and_nothing_else_changes(path: Path, text: str) -> None:
    add_metadata(path, "key", text)
    with safe_open(path, "pt") as file:
        assert file.metadata() == {"format": "pt", "key": text}
    loaded = load_file(path)
    assert loaded.keys() == TENSORS.keys()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in TENSORS.items())
    assert int.from_bytes(path.read_bytes()[:8], "little") % 8 == 0
    assert [each.name for each in path.parent.iterdir()] == ["model.safetensors"]


def test_same_bytes_again_and_in_any_order(path: Path) -> None:
    plain = path.read_bytes()
    add_metadata(path, "key", "text")
    add_metadata(path, "first", "text")
    first = path.read_bytes()
    path.write_bytes(plain)
    add_metadata(path, "first", "text")
    add_metadata(path, "key", "text")
    assert path.read_bytes() == first
    add_metadata(path, "key", "text")
    assert path.read_bytes() == first
