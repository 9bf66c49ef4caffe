"""Settings of speed and memory change neither names nor, in fp32, values."""

import functools
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from peft import PeftModel
from torch import Tensor, nn

from openmedq.errors import ModelError
from openmedq.model import model as models
from openmedq.model import speed
from openmedq.training.learner import Learner

from . import tiny
from .test_batch import make_batch
from .test_learner import compare, gradients

pytestmark = pytest.mark.usefixtures("torch_on_one_thread")

CPU = torch.device("cpu")
ROWS = [0, 1, 3, 4]


def make(*, is_prepared: bool = True, **changes: Any) -> Learner:
    torch.manual_seed(0)
    settings = tiny.make_settings(**changes)
    model, _ = models.build(settings, tiny.texts())
    tiny.shake(model)
    if is_prepared:
        speed.prepare(model, settings, CPU)
    return Learner(model, settings).train()


@pytest.fixture
def found(processor: Any) -> dict[str, Tensor]:
    return gradients(make(), make_batch(processor, ROWS))


def test_checkpointed_activations_give_equal_gradients(found: dict[str, Tensor], processor: Any) -> None:
    learner = make(activation_checkpointing=True)
    assert len(speed.find_layers(learner)) == 4, "two of the encoder, two of the language model"
    runs: list[int] = []
    norm = learner.model.get_base_model().model.language_model.layers[0].input_layernorm
    norm.register_forward_hook(lambda *_: runs.append(1))
    again = gradients(learner, make_batch(processor, ROWS))
    assert len(runs) == 2, "computed again in the backward pass"
    assert again.keys() == found.keys()
    assert all(torch.equal(again[name], found[name]) for name in found)


@pytest.fixture
def _eager(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Trace the layers, but run them without a compiler."""
    compile_layer = nn.Module.compile
    monkeypatch.setattr(nn.Module, "compile", functools.partialmethod(compile_layer, backend="eager"))
    yield
    torch.compiler.reset()


@pytest.mark.usefixtures("_eager")
@pytest.mark.filterwarnings("default")
def test_compiled_layers_keep_names_and_values(found: dict[str, Tensor], processor: Any) -> None:
    learner = make(compile=True, activation_checkpointing=True)
    torch._dynamo.utils.counters.clear()
    again = gradients(learner, make_batch(processor, ROWS))
    gradients(learner, make_batch(processor, [1, 2]))  # other shapes
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > 0, "the layers were compiled"
    assert not any("_orig_mod" in name for name in learner.state_dict())
    compare(again, found)


def test_bf16_keeps_masters_and_a_bf16_stream(processor: Any) -> None:
    learner = make(precision="bf16", vision={"is_trained": False})
    llava = learner.model.get_base_model()
    for name, parameter in learner.named_parameters():
        is_stored_in_bf16 = "language_model" in name or "lm_head" in name or "vision_tower" in name
        expected = torch.bfloat16 if is_stored_in_bf16 and not parameter.requires_grad else torch.float32
        assert parameter.dtype is expected, name
    seen: dict[str, torch.dtype] = {}
    layer = llava.model.language_model.layers[1]
    layer.register_forward_pre_hook(lambda _, inputs: seen.update(stream=inputs[0].dtype))
    layer.self_attn.q_proj.lora_A["default"].register_forward_pre_hook(
        lambda _, inputs: seen.update(adapter=inputs[0].dtype)
    )
    found = gradients(learner, make_batch(processor, ROWS))
    assert seen == {"stream": torch.bfloat16, "adapter": torch.bfloat16}
    assert {gradient.dtype for gradient in found.values()} == {torch.float32}


def test_bf16_is_near_fp32(found: dict[str, Tensor], processor: Any) -> None:
    again = gradients(make(precision="bf16"), make_batch(processor, ROWS))
    left, right = (torch.cat([each[name].flatten() for name in found]) for each in (again, found))
    assert torch.nn.functional.cosine_similarity(left, right, dim=0) > 0.99


def test_attention_on_a_cpu_is_fp32_with_the_same_masks(processor: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = make_batch(processor, [1, 4])
    plain, prepared = (make(precision="bf16", is_prepared=each).model.eval() for each in (False, True))
    seen = set()
    attend = torch.nn.functional.scaled_dot_product_attention

    def watch(query: Tensor, *arguments: Any, **options: Any) -> Tensor:
        seen.add(query.dtype)
        return attend(query, *arguments, **options)

    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        expected = plain(**batch.inputs(tiny.NORMALIZATION)).logits
        monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", watch)
        found = prepared(**batch.inputs(tiny.NORMALIZATION)).logits
    assert seen == {torch.float32}
    torch.testing.assert_close(found, expected, atol=0.3, rtol=0.1)


def test_liger_needs_a_gpu_and_its_package(model: PeftModel, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = tiny.make_settings(liger=True)
    with pytest.raises(ModelError, match=r"^train.liger: true, but Liger's kernels need a CUDA device; set it to"):
        speed.prepare(model, settings, CPU)
    monkeypatch.setitem(sys.modules, "liger_kernel", None)
    with pytest.raises(ModelError, match=r"^train.liger: true, but liger_kernel\S* is not installed; pip install"):
        speed.prepare(model, settings, torch.device("cuda"))


@pytest.mark.parametrize(
    ("is_asked", "device", "expected"), [(True, "cuda", True), (False, "cuda", False), (False, "cpu", True)]
)
def test_a_cpu_is_always_deterministic(is_asked: bool, device: str, expected: bool) -> None:
    try:
        speed.make_deterministic(tiny.make_settings(deterministic=is_asked), torch.device(device))
        assert torch.are_deterministic_algorithms_enabled() is expected
        assert torch.is_deterministic_algorithms_warn_only_enabled() is (device == "cuda")
    finally:
        torch.backends.cuda.enable_cudnn_sdp(True)
