"""A project of its own for each test, with one toy set in its catalogue."""

from pathlib import Path

import pytest

from openmedq.datasets import registry

from . import toyset, transfers


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The current folder is an empty project that knows the toy set."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(registry, "load", lambda _: toyset.make_set())
    toyset.write_catalogue(toyset.CARD)


@pytest.fixture
def mirror(toy: None) -> Path:
    """The toy set's folder in the local data folder `mirror`."""
    folder = Path("mirror/toy_set")
    folder.mkdir(parents=True)
    toyset.miniature(folder)
    return folder


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("transfer")
    transfers.make_project(root)
    return root
