from typing import Any

import numpy as np
import torch
from peft import PeftModel

from openmedq.model.batch import Batch, blank, collate
from openmedq.model.prompt import IGNORED
from openmedq.training.data import EncodedRows, Piece, Row, collate_rows, pack

from .tiny import NUM_PATCHES, SAMPLES

MAX_TOKENS = 200


def make_batch(processor: Any, rows: list[int]) -> Batch:
    dataset = EncodedRows(SAMPLES, processor, NUM_PATCHES, MAX_TOKENS)
    shown = dataset[Piece(np.array(rows), np.full(len(rows), np.nan, np.float32))]
    return collate_rows(shown, processor.tokenizer.pad_token_id).batch


def test_a_gray_image_travels_as_one_channel_and_arrives_as_it_was() -> None:
    gray = torch.randint(0, 256, (1, 4, 4), dtype=torch.uint8).expand(3, -1, -1)
    color = torch.randint(0, 256, (3, 4, 4), dtype=torch.uint8)
    ids = torch.arange(3)
    rows = [Row(7, ids, ids, [gray, color], False), Row(8, ids, ids, [], True), Row(9, ids, ids, [color, gray], False)]
    packed = pack(rows)
    assert packed.pixels.shape == (1 + 3 + 3 + 1, 4, 4)
    for row, arrived in zip(rows, packed.unpack(), strict=True):
        assert (row.number, row.is_cut, len(row.pixels)) == (arrived.number, arrived.is_cut, len(arrived.pixels))
        assert all(map(torch.equal, row.pixels, arrived.pixels))
    assert pack(rows[1:2]).unpack()[0].pixels == []


def test_blank_images_are_uniform_gray() -> None:
    pixels = torch.randint(0, 256, (2, 3, 4, 4), dtype=torch.uint8)
    blanked = blank(pixels, 0.2)
    assert blanked.shape == pixels.shape
    assert blanked.dtype == torch.uint8
    assert (blanked == 51).all()


def test_generation_pads_on_the_left() -> None:
    batch = collate([torch.tensor([5, 6]), torch.tensor([7])], [], pad_id=0, side="left")
    assert batch.ids.tolist() == [[5, 6], [0, 7]]
    assert batch.mask.tolist() == [[1, 1], [0, 1]]
    assert (batch.labels == IGNORED).all()


def test_a_batch_keeps_each_image_with_its_sample(processor: Any, model: PeftModel) -> None:
    model.eval()
    mixed = make_batch(processor, [1, 0, 4])
    with torch.no_grad():
        together = model(**mixed.inputs(processor.image_processor)).logits
        for place, row in enumerate([1, 0, 4]):
            alone = make_batch(processor, [row])
            torch.testing.assert_close(
                model(**alone.inputs(processor.image_processor)).logits[0],
                together[place, : alone.ids.shape[1]],
                atol=1e-5,
                rtol=1e-5,
            )
