import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from openmedq import paths
from openmedq.errors import LocalFolderError, ParamsError
from openmedq.fetch import manifest
from openmedq.fetch.mirror import require
from openmedq.storage.origin import Hashes
from tests.curate.corpus import make_params

from . import toyset

pytestmark = pytest.mark.usefixtures("toy")


def _run(mirror: str | Path = "mirror") -> dict[str, Any]:
    manifest.run(make_params(download={"mirror": str(mirror)}))
    return {path.stem: json.loads(path.read_text()) for path in paths.MANIFEST.iterdir()}


def _write(path: str, text: str = "x") -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(text)
    os.utime(path, (1_000_000_000, 1_000_000_000))


@pytest.fixture
def read_files(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    names: list[str] = []
    compute = Hashes.compute

    def spy(self: Hashes, path: Path, status: os.stat_result) -> str:
        names.append(path.name)
        return compute(self, path, status)

    monkeypatch.setattr(Hashes, "compute", spy)
    return names


@pytest.mark.parametrize("name", ["toy_set", "TOY-SET", "toyset", "Toy Set-2", "toy_set_2", "toySET2"])
def test_a_folder_is_matched_by_id_or_title(name: str, logged: Callable[[], str]) -> None:
    toyset.write_catalogue(toyset.CARD, toyset.CARD.model_copy(update={"id": "other", "title": "Other"}))
    _write(f"mirror/{name}/b.json", "bb")
    _write(f"mirror/{name}/a/é x.jpg", "a")
    _write(f"mirror/{name}/.DS_Store")
    _write("mirror/toy_set.zip")
    _write("mirror/unknown/c.json")
    assert _run() == {
        "other": {"state": "absent"},
        "toy_set": {
            "state": "present",
            "folder": f"mirror/{name}",
            "origin": "mirror",
            "files": [
                {"path": "a/é x.jpg", "size_bytes": 1, "sha256": hashlib.sha256(b"a").hexdigest()},
                {"path": "b.json", "size_bytes": 2, "sha256": hashlib.sha256(b"bb").hexdigest()},
            ],
        },
    }

    assert logged().startswith("mirror: no dataset matches 1 folder: unknown; rename a folder to its dataset's id; ")


@pytest.mark.parametrize("path", ["questions.json", "unpacked/questions.csv"])
def test_a_folder_of_the_collection_is_matched_by_a_file_of_any_packaging(path: str) -> None:
    update = {"collection": "Toys", "other_paths": ("unpacked/questions.csv",)}
    toyset.write_catalogue(toyset.CARD.model_copy(update=update), toyset.CARD.model_copy(update={"id": "other"}))
    _write("mirror/other/a")
    _write("mirror/toys/b")
    assert _run()["toy_set"]["state"] == "absent"
    _write(f"mirror/toys/{path}")
    assert _run()["toy_set"]["folder"] == "mirror/toys"


def test_the_miniatures_folder_is_told_from_a_mirror(tmp_path: Path) -> None:
    _write("data/miniature/toy_set/a")
    assert _run("data/miniature")["toy_set"]["origin"] == "miniature"
    assert _run(f"{tmp_path}/data/miniature/")["toy_set"]["origin"] == "miniature"
    assert _run(f"{tmp_path}/data/miniature/")["toy_set"]["folder"] == f"{tmp_path}/data/miniature/toy_set"


def test_only_what_changed_is_read_again(read_files: list[str]) -> None:
    for name in "abc":
        _write(f"mirror/toy_set/{name}", name)
    first = _run()
    assert read_files == ["a", "b", "c"]
    read_files.clear()
    assert _run() == first
    assert read_files == []
    _write("mirror/toy_set/b", "changed")
    _write("mirror/toy_set/d", "added")
    Path("mirror/toy_set/a").unlink()
    files = {file["path"]: file["sha256"] for file in _run()["toy_set"]["files"]}
    assert read_files == ["b", "d"]
    assert files == {
        "b": hashlib.sha256(b"changed").hexdigest(),
        "c": hashlib.sha256(b"c").hexdigest(),
        "d": hashlib.sha256(b"added").hexdigest(),
    }


def test_a_wrong_mirror_is_one_line() -> None:
    with pytest.raises(
        LocalFolderError, match=r"^nowhere: No such file or directory; set download\.mirror in params\.yaml"
    ):
        _run("nowhere")
    _write("file")
    with pytest.raises(LocalFolderError, match=r"^file: Not a directory"):
        _run("file")
    Path("mirror").mkdir()
    with pytest.raises(LocalFolderError, match=r"^mirror: contains no dataset; name its folders toy_set, or change"):
        _run()
    Path("mirror/toy_set").mkdir()
    with pytest.raises(LocalFolderError, match=r"^mirror/toy_set: contains no file"):
        _run()
    _write("mirror/toy_set/a")
    _write("mirror/Toy-Set-2/a")
    with pytest.raises(
        LocalFolderError, match=r"^mirror/Toy-Set-2 and mirror/toy_set: both match toy_set; remove one, or move"
    ):
        _run()
    assert not paths.MANIFEST.exists()


def test_fetching_into_the_miniatures_is_an_error() -> None:
    with pytest.raises(ParamsError, match=r"fetch is true, but download\.mirror is data/miniature, where every"):
        require(make_params(download={"mirror": str(paths.MINIATURE), "fetch": True}), {})
    Path("supplied").mkdir()
    assert require(make_params(download={"mirror": "supplied", "fetch": True}), {}) == Path("supplied")


def test_a_file_that_cant_be_read_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    _write("mirror/toy_set/a")
    _run()
    _write("mirror/toy_set/a", "changed")
    before = (paths.MANIFEST / "toy_set.json").read_bytes()
    opened = Path.open

    def refuse(self: Path, *args: Any, **kwargs: Any) -> Any:
        if self.name == "a":
            raise PermissionError(13, "Permission denied")
        return opened(self, *args, **kwargs)

    monkeypatch.setattr(Path, "open", refuse)  # file modes don't bind root, who may run the tests
    with pytest.raises(LocalFolderError, match=r"^mirror/toy_set/a: can't be read \(Permission denied\)"):
        _run()
    assert (paths.MANIFEST / "toy_set.json").read_bytes() == before
