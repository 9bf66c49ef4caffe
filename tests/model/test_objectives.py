from typing import Any

import pytest
import torch
from peft import PeftModel

from openmedq.model.prompt import IGNORED
from openmedq.training import objectives

from . import tiny
from .test_batch import make_batch


def test_cross_entropy_is_that_of_transformers(model: PeftModel, processor: Any) -> None:
    batch = make_batch(processor, [0, 1, 4])
    with torch.no_grad():
        expected = model(**batch.inputs(), labels=batch.labels).loss
        losses = objectives.compute(model, batch)
    torch.testing.assert_close(losses.next_token / objectives.count_learned(batch), expected)
    assert losses.contrastive == 0


def test_tokens_without_labels_have_no_gradient(model: PeftModel, processor: Any) -> None:
    batch = make_batch(processor, [0])
    embedded = model.get_input_embeddings()(batch.ids).detach().requires_grad_()
    logits = model(inputs_embeds=embedded, attention_mask=batch.mask).logits
    logits.retain_grad()
    torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), batch.labels[:, 1:].flatten()).backward()
    touched = logits.grad[0].abs().sum(dim=-1) > 0
    assert touched[:-1].tolist() == (batch.labels[0, 1:] != IGNORED).tolist()


def test_contrast_prefers_matching_texts() -> None:
    texts = torch.eye(4)
    matching = objectives.contrast(texts, texts, torch.eye(4, dtype=torch.bool))
    crossed = objectives.contrast(texts.roll(1, 0), texts, torch.eye(4, dtype=torch.bool))
    assert matching < crossed


def test_equal_texts_are_no_negative_pairs(model: PeftModel, processor: Any) -> None:
    pooled, is_same = objectives._pool_answers(model, make_batch(processor, [0, 3, 0]))
    assert is_same.tolist() == [[True, False, True], [False, True, False], [True, False, True]]
    torch.testing.assert_close(pooled[0], pooled[2])


def test_the_pooled_text_does_not_depend_on_the_image(model: PeftModel, processor: Any) -> None:
    model.eval()
    batch = make_batch(processor, [0, 3])
    blank = type(batch)(torch.zeros_like(batch.pixels), batch.ids, batch.labels, batch.mask)
    with torch.no_grad():
        assert torch.equal(objectives._pool_answers(model, batch)[0], objectives._pool_answers(model, blank)[0])


@pytest.mark.parametrize("rows", [[0, 3], [1, 2], [0, 1]])
def test_contrast_needs_one_image_per_sample(model: PeftModel, processor: Any, rows: list[int]) -> None:
    tiny.shake(model)
    batch = make_batch(processor, rows)
    loss = objectives.compute(model, batch, is_contrastive=True).contrastive
    if rows == [0, 3]:
        loss.backward()
        assert model.model.model.multi_modal_projector.linear_1.weight.grad.abs().sum() > 0
    else:
        assert loss == 0
