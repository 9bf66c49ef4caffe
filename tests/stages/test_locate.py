"""`locate` says in one line that a mirror is not there, before DVC would."""

from pathlib import Path

import pytest

from openmedq import paths
from openmedq.errors import MirrorError, ParamsError
from openmedq.fetch import locate
from tests.curate.corpus import make_params

pytestmark = pytest.mark.usefixtures("toy")


def _run(mirror: str, *, fetch: bool = False) -> None:
    locate.run(make_params(download={"mirror": mirror, "fetch": fetch}))


def test_a_mirror_that_holds_a_set_is_written_down() -> None:
    Path("mirror/Toy-Set").mkdir(parents=True)
    _run("mirror")
    assert paths.MIRROR.read_text() == "mirror\n"


def test_the_miniatures_need_not_be_there_yet() -> None:
    _run(str(paths.MINIATURE))
    assert paths.MIRROR.read_text() == "data/miniature\n"


def test_a_wrong_mirror_is_one_line_and_nothing_is_written() -> None:
    Path("file").write_text("x")
    Path("empty").mkdir()
    for mirror, problem in (("absent", "No such file"), ("file", "Not a directory"), ("empty", "holds no set")):
        with pytest.raises(MirrorError, match=f"^{mirror}: {problem}.*download.mirror"):
            _run(mirror)
    assert not paths.MIRROR.exists()


def test_nothing_is_fetched_beside_the_miniatures_and_that_is_said() -> None:
    with pytest.raises(ParamsError, match=r"fetch is true, but download\.mirror is data/miniature, where each"):
        _run(str(paths.MINIATURE), fetch=True)
    assert not paths.MIRROR.exists()
    Path("supplied").mkdir()
    _run("supplied", fetch=True)
