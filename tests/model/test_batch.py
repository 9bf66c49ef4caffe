from typing import Any

import numpy as np
import torch
from peft import PeftModel

from openmedq.model.batch import Batch, blank, collate
from openmedq.model.prompt import IGNORED, encode
from openmedq.training.data import EncodedRows, Piece, collate_rows

from .tiny import NUM_PATCHES, SAMPLES, SIDE_PX, WIDTH

MAX_TOKENS = 200


def make_batch(processor: Any, rows: list[int]) -> Batch:
    dataset = EncodedRows(SAMPLES, processor, NUM_PATCHES, MAX_TOKENS)
    shown = dataset[Piece(np.array(rows), np.full(len(rows), np.nan, np.float32))]
    return collate_rows(shown, processor.tokenizer.pad_token_id).batch


def test_the_shapes_are_those_of_the_docstring(processor: Any, model: PeftModel) -> None:
    rows = [0, 1, 4]  # one image, none, two: N = 3
    encoded = [encode(SAMPLES[row], processor.tokenizer, NUM_PATCHES, MAX_TOKENS) for row in rows]
    for each in encoded:
        assert each.ids.shape == each.labels.shape == (len(each.ids),)
        assert each.ids.dtype == each.labels.dtype == torch.int64
    batch = make_batch(processor, rows)
    length = max(len(each.ids) for each in encoded)
    assert batch.pixels.shape == (3, 3, SIDE_PX, SIDE_PX)
    assert batch.ids.shape == batch.labels.shape == batch.mask.shape == (3, length)

    shapes: dict[str, tuple[int, ...]] = {}
    llava = model.model.model

    def keep(name: str) -> Any:
        def hook(_: Any, __: Any, kwargs: Any, output: Any) -> None:
            if name == "vision tower":
                shapes[name] = tuple(output.hidden_states[-1].shape)
            elif name == "projector":
                shapes[name] = tuple(output.shape)
            else:
                shapes[name] = tuple(kwargs["inputs_embeds"].shape)

        return hook

    for name, part in (
        ("vision tower", llava.vision_tower),
        ("projector", llava.multi_modal_projector),
        ("language model", llava.language_model),
    ):
        part.register_forward_hook(keep(name), with_kwargs=True)
    outputs = model(**batch.inputs(processor.image_processor), labels=batch.labels)
    assert shapes["vision tower"] == (3, 1 + NUM_PATCHES, 24)
    assert shapes["projector"] == (3, NUM_PATCHES, WIDTH)
    assert shapes["language model"] == (3, length, WIDTH)
    assert outputs.logits.shape == (3, length, len(processor.tokenizer))
    assert outputs.loss.shape == ()


def test_padding_is_neither_seen_nor_learned(processor: Any, model: PeftModel) -> None:
    model.eval()
    alone, together = make_batch(processor, [1]), make_batch(processor, [1, 4])
    length = alone.ids.shape[1]
    assert together.ids[0, :length].tolist() == alone.ids[0].tolist()
    assert (together.ids[0, length:] == processor.tokenizer.pad_token_id).all()
    assert (together.labels[0, length:] == IGNORED).all()
    assert together.mask[0].tolist() == [1] * length + [0] * (together.ids.shape[1] - length)
    with torch.no_grad():
        one, two = (
            model(**alone.inputs(processor.image_processor)).logits[0],
            model(**together.inputs(processor.image_processor)).logits[0, :length],
        )
    torch.testing.assert_close(one, two, atol=1e-5, rtol=1e-5)


def test_generation_pads_on_the_left() -> None:
    batch = collate([torch.tensor([5, 6]), torch.tensor([7])], [], pad_id=0, side="left")
    assert batch.ids.tolist() == [[5, 6], [0, 7]]
    assert batch.mask.tolist() == [[1, 1], [0, 1]]
    assert (batch.labels == IGNORED).all()


def test_a_batch_without_images_does_not_run_the_encoder(processor: Any, model: PeftModel) -> None:
    batch = make_batch(processor, [1, 2])
    assert batch.pixels.shape[0] == 0
    assert "pixel_values" not in batch.inputs(processor.image_processor)
    model(**batch.inputs(processor.image_processor), labels=batch.labels).loss.backward()
    assert model.model.model.vision_tower.embeddings.cls_token.grad is None


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


def test_blank_images_are_uniform_gray() -> None:
    pixels = torch.randint(0, 256, (2, 3, 4, 4), dtype=torch.uint8)
    blanked = blank(pixels, 0.2)
    assert blanked.shape == pixels.shape
    assert blanked.dtype == torch.uint8
    assert (blanked == 51).all()
