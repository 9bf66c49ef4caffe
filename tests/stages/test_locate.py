"""`locate` says in one line that a mirror is not there, before DVC would."""

from pathlib import Path

import pytest

from openmedq import layout
from openmedq.errors import MirrorError
from openmedq.stages import locate
from tests.quality.corpus import make_params

pytestmark = pytest.mark.usefixtures("toy")


def _run(mirror: str) -> None:
    locate.run(make_params(download={"mirror": mirror}))


def test_a_mirror_that_holds_a_set_is_written_down() -> None:
    Path("mirror/Toy-Set").mkdir(parents=True)
    _run("mirror")
    assert layout.MIRROR.read_text() == "mirror\n"


def test_the_miniatures_need_not_be_there_yet() -> None:
    _run(str(layout.MINIATURE))
    assert layout.MIRROR.read_text() == "data/miniature\n"


def test_a_wrong_mirror_is_one_line_and_nothing_is_written() -> None:
    Path("file").write_text("x")
    Path("empty").mkdir()
    for mirror, problem in (("absent", "No such file"), ("file", "Not a directory"), ("empty", "holds no set")):
        with pytest.raises(MirrorError, match=f"^{mirror}: {problem}.*download.mirror"):
            _run(mirror)
    assert not layout.MIRROR.exists()
