from typing import Any

import torch

from openmedq.model.prompt import IGNORED
from openmedq.training import objectives

from .test_batch import make_batch
from .tiny import make_settings

SCALE, BIAS = torch.tensor([10.0]), torch.tensor([-10.0])


def test_each_token_counts_in_its_own_row(processor: Any) -> None:
    batch = make_batch(processor, [0, 1, 4])
    logits = torch.randn(len(batch.learned), len(processor.tokenizer), generator=torch.Generator().manual_seed(0))
    total, of_rows = objectives.cross_entropy(logits, batch)
    labels = batch.labels[:, 1:]
    expected = torch.nn.functional.cross_entropy(logits, labels[labels != IGNORED], reduction="none")
    torch.testing.assert_close(total, expected.sum())
    counts = (labels != IGNORED).sum(dim=1).tolist()
    torch.testing.assert_close(of_rows, torch.stack([part.sum() for part in expected.split(counts)]))


def test_contrast_is_the_sum_of_the_pairs() -> None:
    images, texts = torch.randn(2, 3, 8, generator=torch.Generator().manual_seed(0))
    is_same = torch.eye(3, dtype=torch.bool)
    expected = torch.zeros(())
    for i, image in enumerate(images):
        for j, text in enumerate(texts):
            similarity = torch.nn.functional.cosine_similarity(image, text, dim=0)
            expected -= torch.log(torch.sigmoid((1 if i == j else -1) * (10 * similarity - 10)))
    torch.testing.assert_close(objectives.contrast(images, texts, is_same, SCALE, BIAS), expected)


def test_fingerprints_are_of_ids_and_order_alone() -> None:
    ids = torch.tensor([[5, 6, 9], [5, 6, 0], [6, 5, 0], [5, 6, 7], [0, 5, 6], [5, 0, 0]])
    mask = torch.tensor([[1, 1, 0], [1, 1, 0], [1, 1, 0], [1, 1, 1], [1, 1, 1], [1, 1, 0]])
    keys = objectives.fingerprint(ids, mask).tolist()
    assert keys[0] == keys[1]
    assert len(set(keys)) == 5
    assert objectives.fingerprint(ids[:, :2], mask[:, :2])[0] == keys[0]


def test_losses_are_weighed_per_token_and_per_image() -> None:
    losses = objectives.Losses(torch.tensor(6.0), torch.tensor(8.0), torch.zeros(1), torch.zeros(1))
    settings = make_settings(next_token_weight=0.5, contrastive_weight=0.25)
    assert objectives.combine(losses, settings, num_tokens=3, num_images=4) == 0.5 * 2 + 0.25 * 2
    assert objectives.combine(losses, settings, num_tokens=0, num_images=0) == 0.5 * 6 + 0.25 * 8
