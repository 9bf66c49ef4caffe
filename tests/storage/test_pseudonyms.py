"""Pseudonyms: the same within an installation, others elsewhere, from a key that only its owner can read."""

import os
from pathlib import Path
from typing import Any

import pytest

from openmedq import paths
from openmedq.storage.pseudonyms import PSEUDONYM, open_pseudonyms

pytestmark = pytest.mark.usefixtures("empty_folder")


def test_a_pseudonym_is_kept_by_its_key_alone() -> None:
    pseudonym = open_pseudonyms()
    assert not paths.SALT.exists()  # made when it is needed
    first = pseudonym("Doe^Jane")
    assert PSEUDONYM.fullmatch(first) and first != pseudonym("Doe^John")
    assert open_pseudonyms()("Doe^Jane") == first
    assert paths.SALT.stat().st_mode & 0o777 == 0o600
    paths.SALT.unlink()
    assert open_pseudonyms()("Doe^Jane") != first


def test_two_processes_that_start_together_use_one_key(monkeypatch: pytest.MonkeyPatch) -> None:
    link = os.link

    def be_second(source: Any, target: Any) -> None:
        Path(target).write_bytes(b"k" * 32)  # another process was faster
        link(source, target)

    monkeypatch.setattr(os, "link", be_second)
    first = open_pseudonyms()("Doe^Jane")
    assert open_pseudonyms()("Doe^Jane") == first and paths.SALT.read_bytes() == b"k" * 32
    assert [path.name for path in paths.SALT.parent.iterdir()] == [paths.SALT.name]
