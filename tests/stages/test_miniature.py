"""`miniature` writes a dataset's own layout, whole, the same bytes each time."""

import pytest

from openmedq import paths
from openmedq.datasets import registry
from openmedq.synthetic import miniature
from tests.curate.corpus import make_params

pytestmark = pytest.mark.usefixtures("empty_folder")


def _bytes() -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (paths.MINIATURE / "pneumonia_mnist").iterdir()}


def test_a_miniature_is_written_with_the_seed() -> None:
    dataset = registry.load("pneumonia_mnist")
    miniature.run(make_params(), dataset)
    first = _bytes()
    assert set(first) == {"pneumoniamnist.npz"}
    miniature.run(make_params(), dataset)
    assert _bytes() == first
    miniature.run(make_params(miniature={"seed": 7}), dataset)
    assert _bytes() != first
