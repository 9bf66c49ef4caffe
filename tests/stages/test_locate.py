"""`openmedq locate` reports a missing local data folder in one line, before DVC does."""

from pathlib import Path

import pytest

from openmedq import paths
from openmedq.datasets import catalogue
from openmedq.errors import ParamsError
from openmedq.fetch.mirror import require
from tests.curate.corpus import make_params

pytestmark = pytest.mark.usefixtures("toy")


def _require(mirror: str, *, fetch: bool = False) -> Path:
    return require(make_params(download={"mirror": mirror, "fetch": fetch}), catalogue.read(paths.CATALOGUE))


def test_fetching_into_the_miniatures_is_an_error() -> None:
    with pytest.raises(ParamsError, match=r"fetch is true, but download\.mirror is data/miniature, where every"):
        _require(str(paths.MINIATURE), fetch=True)
    Path("supplied").mkdir()
    assert _require("supplied", fetch=True) == Path("supplied")
