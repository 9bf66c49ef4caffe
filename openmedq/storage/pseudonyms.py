"""Pseudonyms of patients, studies and files: keyed hashes that only this installation can compute again."""

import hashlib
import re
import secrets
from collections.abc import Callable
from functools import cache

from openmedq import paths
from openmedq.storage.publish import exclusive, replacing

KEY_SIZE_BYTES = 32
SIZE_BYTES = 12
PSEUDONYM = re.compile(f"[0-9a-f]{{{2 * SIZE_BYTES}}}")


def open_pseudonyms() -> Callable[[str], str]:
    """Return the function from a name to its pseudonym (24 hex digits); its key is read when it is first called."""

    @cache
    def read_key() -> bytes:
        return _read_key()

    def pseudonym(name: str) -> str:
        data = name.encode("utf-8", "surrogatepass")
        return hashlib.blake2b(data, key=read_key(), digest_size=SIZE_BYTES).hexdigest()

    return pseudonym


def _read_key() -> bytes:
    """The key in the file paths.SALT, which git ignores; the first call makes it, readable by its owner alone."""
    if not paths.SALT.exists():
        with exclusive(paths.SALT):
            if not paths.SALT.exists():  # another process may have made it meanwhile
                with replacing(paths.SALT) as temporary:
                    temporary.touch(0o600)
                    temporary.write_bytes(secrets.token_bytes(KEY_SIZE_BYTES))
    return paths.SALT.read_bytes()
