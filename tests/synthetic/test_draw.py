import itertools
from collections import Counter

import numpy as np
import pytest
from imagehash import phash
from PIL import Image

from openmedq.synthetic.draw import Figure, draw, draw_figures

PROPERTIES = ("organ", "position", "is_large", "is_bright", "num_clips")


@pytest.mark.parametrize("seed", [0, 1])
def test_properties_are_balanced_and_independent(seed: int) -> None:
    figures = draw_figures(seed, "x", num_rounds=2)
    for first, second in itertools.combinations(PROPERTIES, 2):
        counts = Counter((getattr(figure, first), getattr(figure, second)) for figure in figures)
        assert len(set(counts.values())) == 1


def test_two_pictures_are_no_near_duplicates() -> None:
    """Deduplication treats images within 3 bits of hash and 6 gray levels of thumbnail as copies."""
    figures = draw_figures(0, "train", 2) + draw_figures(0, "test", 1)
    same = [Figure("head", "upper left", True, True, 1, texture=texture) for texture in range(40)]
    for group in (figures, same):
        pictures = [Image.fromarray(draw(figure)) for figure in group]
        hashes = np.array([phash(picture).hash.ravel() for picture in pictures])
        thumbnails = np.array([np.asarray(picture.resize((32, 32)), np.float32).ravel() for picture in pictures])
        for i, j in itertools.combinations(range(len(group)), 2):
            if (hashes[i] != hashes[j]).sum() <= 3:
                assert np.abs(thumbnails[i] - thumbnails[j]).mean() > 6
