"""Temporary."""

import io

import numpy as np
import PIL.Image
import torch


def decode(image, side_px, resample):
    with PIL.Image.open(io.BytesIO(image) if isinstance(image, bytes) else image) as opened:
        return (
            torch.from_numpy(np.array(opened.convert("RGB").resize((side_px, side_px), resample)))
            .permute(2, 0, 1)
            .contiguous()
        )


def normalize(pixels, mean, std):
    return (pixels.float() / 255 - torch.tensor(mean).reshape(3, 1, 1)) / torch.tensor(std).reshape(3, 1, 1)
