"""The losses and gradients of a micro batch, beside those of the stock LLaVA."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from peft import PeftModel
from torch import Tensor

from openmedq.model.batch import Batch
from openmedq.model.prompt import IGNORED
from openmedq.training.learner import Learner

from . import tiny
from .test_batch import make_batch

pytestmark = pytest.mark.usefixtures("torch_on_one_thread")

ROWS = [0, 1, 2, 3, 4, 5]
BOTH = {"contrastive_weight": 0.5}
CONTRASTIVE = {"next_token_weight": 0.0, "contrastive_weight": 1.0}


@pytest.fixture(autouse=True)
def _as_after_training(model: PeftModel) -> None:
    tiny.shake(model)


def gradients(learner: Learner, *batches: Batch) -> dict[str, Tensor]:
    """Of both sums, over several micro batches."""
    learner.zero_grad()
    for batch in batches:
        losses = learner(batch)
        (losses.next_token + losses.contrastive).backward()
    return {name: each.grad for name, each in learner.named_parameters() if each.grad is not None}


def compare(left: dict[str, Tensor], right: dict[str, Tensor]) -> None:
    assert left.keys() == right.keys()
    largest = max(gradient.abs().max() for gradient in right.values())
    for name, gradient in left.items():
        scale = right[name].abs().max().clamp(min=1e-3 * largest)  # those of biases of keys are zero but for rounding
        torch.testing.assert_close(gradient / scale, right[name] / scale, atol=1e-5, rtol=0, msg=name)


def catch_logits(learner: Learner, batch: Batch) -> Tensor:
    caught = []
    head = learner.model.get_base_model().lm_head
    handle = head.register_forward_hook(lambda _, __, output: caught.append(output))
    learner(batch)
    handle.remove()
    return caught[0]


def test_logits_are_those_of_the_masked_model_at_learned_positions(model: PeftModel, processor: Any) -> None:
    batch = make_batch(processor, ROWS)
    assert not batch.mask.all(), "some rows are padded"
    with torch.no_grad():
        expected = model(**batch.inputs(processor.image_processor)).logits[:, :-1][batch.labels[:, 1:] != IGNORED]
        found = catch_logits(Learner(model, tiny.make_settings()), batch)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-6)


def test_loss_and_gradients_are_those_of_transformers(model: PeftModel, processor: Any) -> None:
    batch = make_batch(processor, ROWS)
    learner = Learner(model, tiny.make_settings())
    found = gradients(learner, batch)
    with torch.no_grad():
        losses = learner(batch)
    learner.zero_grad()
    loss = model(**batch.inputs(processor.image_processor), labels=batch.labels).loss
    torch.testing.assert_close(losses.next_token / len(batch.learned), loss)
    (loss * len(batch.learned)).backward()
    compare(found, {name: each.grad for name, each in learner.named_parameters() if each.grad is not None})
    torch.testing.assert_close(losses.of_rows.sum(), losses.next_token)
    assert losses.num_tokens.sum() == len(batch.learned)
    assert losses.contrastive == 0


def test_text_alone_does_not_run_the_encoder(model: PeftModel, processor: Any) -> None:
    found = gradients(Learner(model, tiny.make_settings(**BOTH)), make_batch(processor, [1, 2]))
    assert found and not any("vision_tower" in name or "projector" in name for name in found)


def test_images_and_slots_must_match_in_number(model: PeftModel, processor: Any) -> None:
    batch = make_batch(processor, [0, 3])
    with pytest.raises(RuntimeError, match="image slots and projected patches differ in number"):
        Learner(model, tiny.make_settings())(replace(batch, pixels=batch.pixels[:1]))


def pool(learner: Learner, batch: Batch) -> tuple[Tensor, Tensor]:
    with torch.no_grad():
        return learner._pool_answers(batch)


def test_the_text_is_the_mean_state_of_the_answer_alone(model: PeftModel, processor: Any) -> None:
    batch = make_batch(processor, [0, 4])
    pooled, _ = pool(Learner(model, tiny.make_settings(**BOTH)), batch)
    for row, text in enumerate(pooled):
        answer = batch.ids[row][batch.labels[row] != IGNORED]
        with torch.no_grad():
            states = model(input_ids=answer[None], output_hidden_states=True).hidden_states[-1][0]
        torch.testing.assert_close(text, states.mean(dim=0), atol=1e-5, rtol=1e-5)


def test_equal_texts_are_no_negative_pairs(model: PeftModel, processor: Any) -> None:
    _, keys = pool(Learner(model, tiny.make_settings(**BOTH)), make_batch(processor, [0, 3, 0]))
    assert keys[0] == keys[2] != keys[1]
    learner = Learner(model, tiny.make_settings(**BOTH))
    with torch.no_grad():
        once, twice = (learner(make_batch(processor, rows)).contrastive for rows in ([0], [0, 0]))
    torch.testing.assert_close(twice, 4 * once)


def test_each_image_is_paired_with_the_answer_of_its_sample(model: PeftModel, processor: Any) -> None:
    learner = Learner(model, tiny.make_settings(**BOTH))
    with torch.no_grad():
        three = learner(make_batch(processor, [0, 4])).contrastive
        with_text = learner(make_batch(processor, [1, 0, 2, 4])).contrastive
        assert learner(make_batch(processor, [1, 2])).contrastive == 0
    torch.testing.assert_close(three, with_text, atol=1e-5, rtol=1e-5)


def test_a_contrastive_training_computes_no_logits(model: PeftModel, processor: Any) -> None:
    learner = Learner(model, tiny.make_settings(**CONTRASTIVE))
    head = model.get_base_model().lm_head
    head.register_forward_hook(lambda *_: pytest.fail("the language head ran"))
    found = gradients(learner, make_batch(processor, [0, 1, 3]))
    trained = {name for name, each in learner.named_parameters() if each.requires_grad}
    assert found.keys() == trained, "each trained weight has a gradient"
    for part in ("vision_tower", "projector", "lora_B", "log_scale"):
        assert any(part in name for name in found), part
