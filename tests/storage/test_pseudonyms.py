"""Pseudonyms: the same within an installation, others elsewhere, from a key that only its owner can read."""

import pytest

from openmedq import paths
from openmedq.storage.pseudonyms import PSEUDONYM, open_pseudonyms
from openmedq.storage.publish import remove

pytestmark = pytest.mark.usefixtures("empty_folder")


def test_a_pseudonym_is_kept_by_its_key_alone() -> None:
    pseudonym = open_pseudonyms()
    assert not paths.SALT.exists()  # made when it is needed
    first = pseudonym("Doe^Jane")
    assert PSEUDONYM.fullmatch(first) and first != pseudonym("Doe^John")
    assert open_pseudonyms()("Doe^Jane") == first
    assert paths.SALT.stat().st_mode & 0o777 == 0o600
    remove(paths.PARTIAL)
    assert open_pseudonyms()("Doe^Jane") == first
    assert not paths.PARTIAL.exists(), "the lock is taken to make the key, not to read it"
    paths.SALT.unlink()
    assert open_pseudonyms()("Doe^Jane") != first
