"""Credentials: from the environment or netrc, each for one host and for no other. They are never shown.

A netrc's `default` entry is not used: it would send a password to whoever is asked.
"""

from __future__ import annotations

import base64
import netrc
import os
from pathlib import Path

from pydantic import SecretStr

from openmedq.errors import AcquisitionError

HUB = "huggingface.co"
VARIABLES = {"physionet.org": ("PHYSIONET_USERNAME", "PHYSIONET_PASSWORD")}


def find(host: str) -> SecretStr | None:
    """The `Authorization` header for a host; None where there are no credentials for it.

    AcquisitionError where half of them is there, or netrc can't be read.
    """
    if host == HUB:
        from huggingface_hub import get_token  # the environment's HF_TOKEN, or what `hf auth login` keeps

        token = get_token()
        return SecretStr(f"Bearer {token}") if token else None
    pair = _from_environment(host) or _from_netrc(host)
    if pair is None:
        return None
    return SecretStr("Basic " + base64.b64encode(":".join(pair).encode()).decode("ascii"))


def advise(host: str) -> str:
    """How to give the credentials for a host."""
    if host == HUB:
        return "set HF_TOKEN, or run `hf auth login`"
    names = VARIABLES.get(host)
    return (f"set {' and '.join(names)}, or add" if names else "add") + f" `machine {host}` to ~/.netrc"


def _from_environment(host: str) -> tuple[str, str] | None:
    names = VARIABLES.get(host)
    if names is None:
        return None
    user, password = (os.environ.get(name, "") for name in names)
    if bool(user) != bool(password):
        raise AcquisitionError(f"{names[0]} and {names[1]}: one of them is set, the other is not; set both or neither")
    return (user, password) if user else None


def _from_netrc(host: str) -> tuple[str, str] | None:
    path = Path(os.environ.get("NETRC") or "~/.netrc")
    try:
        path = path.expanduser()
        entry = netrc.netrc(path).hosts.get(host)
    except (FileNotFoundError, RuntimeError):  # the latter: a user without a home, as in containers
        return None
    except netrc.NetrcParseError as error:  # whose own words may hold a password
        raise AcquisitionError(
            f"{path}, line {error.lineno}: not a netrc file; mend it, or set NETRC to another"
        ) from None
    except (OSError, UnicodeDecodeError):
        raise AcquisitionError(f"{path}: can't be read; make it readable, or set NETRC to another") from None
    return (entry[0], entry[2] or "") if entry else None
