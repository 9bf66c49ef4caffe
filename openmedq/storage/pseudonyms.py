"""Pseudonyms of patients, studies and files: keyed hashes that only this installation can compute again."""

import hashlib
import os
import re
import secrets
from collections.abc import Callable
from functools import cache

from openmedq import paths

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
        paths.SALT.parent.mkdir(parents=True, exist_ok=True)
        temporary = paths.SALT.with_name(f".{paths.SALT.name}.{os.getpid()}")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(descriptor, "wb") as file:  # noqa: PTH123  an open descriptor
            file.write(secrets.token_bytes(KEY_SIZE_BYTES))
        try:
            os.link(temporary, paths.SALT)  # fails if another process was faster
        except FileExistsError:
            pass
        finally:
            temporary.unlink()
    return paths.SALT.read_bytes()
