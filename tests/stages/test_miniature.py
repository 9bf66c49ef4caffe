"""`miniature` writes a set's own layout, whole, the same bytes each time."""

import pytest

from openmedq import paths
from openmedq.errors import StaleError
from openmedq.synthetic import miniature
from tests.curate.corpus import make_params

from . import toyset

pytestmark = pytest.mark.usefixtures("toy")


def _bytes() -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (paths.MINIATURE / "toy_set").iterdir()}


def test_a_miniature_is_written_with_the_seed() -> None:
    miniature.run(make_params(), "toy_set")
    first = _bytes()
    assert set(first) == {"questions.json", "a.png", "b.png", "c.png", "broken.png"}
    miniature.run(make_params(), "toy_set")
    assert _bytes() == first
    miniature.run(make_params(miniature={"seed": 7}), "toy_set")
    assert _bytes() != first


def test_a_stale_catalogue_is_refused() -> None:
    toyset.write_catalogue(toyset.CARD.model_copy(update={"licence": "CC-BY-4.0"}))
    with pytest.raises(StaleError, match=r"data/catalogue\.yaml: toy_set differs from its card; run `python -m openm"):
        miniature.run(make_params(), "toy_set")
    assert not paths.MINIATURE.exists()
