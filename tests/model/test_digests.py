from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from openmedq.errors import ModelError
from openmedq.model import digests, weights
from openmedq.model import model as models

TENSORS = {"a.weight": torch.arange(6, dtype=torch.bfloat16), "b\u00b5": torch.eye(3)}


def test_a_file_with_a_digest_is_read_by_safetensors(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    digests.save(TENSORS, path)
    assert all(torch.equal(tensor, TENSORS[name]) for name, tensor in load_file(path).items())
    assert weights.read(path).keys() == TENSORS.keys()
    digests.check(path)
    (tmp_path / "other").touch()
    assert path.stat().st_mode == (tmp_path / "other").stat().st_mode  # who may read one may read both


def test_a_flipped_bit_of_the_tensors_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    digests.save(TENSORS, path)
    whole = path.read_bytes()
    start = 8 + int.from_bytes(whole[:8], "little")
    assert len(whole) - start == 12 + 36
    for place in (whole.index(b"b\xc2\xb5"), *range(start, len(whole))):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(ModelError, match=r"model\.safetensors: is damaged"):
            digests.check(path)
    with pytest.raises(ModelError, match="is damaged"):
        models.load(tmp_path)
    with pytest.raises(ModelError, match="is damaged"):
        weights.read(path)


def test_published_weights_without_a_digest_pass(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_file(TENSORS, path, metadata={"format": "pt"})
    digests.check(path)


@pytest.mark.parametrize("place", [0, 7, 12])  # of the header's length, and its first name
def test_a_damaged_header_names_the_file(tmp_path: Path, place: int) -> None:
    path = tmp_path / "model.safetensors"
    digests.save(TENSORS, path)
    data = bytearray(path.read_bytes())
    data[place] ^= 0x80
    path.write_bytes(data)
    with pytest.raises(ModelError, match=r"model\.safetensors: is damaged: its header can't be read; get it again$"):
        models.load(tmp_path)
