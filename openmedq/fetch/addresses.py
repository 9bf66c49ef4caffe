"""URLs: endpoints, redirects, proxies, what a message may show, and the credentials of each host.

Credentials come from environment variables or netrc and are sent to their own host only.
"""

import base64
import netrc
import os
import urllib.request
from pathlib import Path

from pydantic import SecretStr
from yarl import URL

from openmedq.errors import AcquisitionError, ParamsError

HUB = "huggingface.co"
VARIABLES = {"physionet.org": ("PHYSIONET_USERNAME", "PHYSIONET_PASSWORD")}


def plain(url: str) -> str:
    """The URL without query, fragment and user, which may hold secrets: the form for messages."""
    return str(URL(url).with_query(None).with_fragment(None).with_user(None))


def parse_endpoint(base: str, name: str) -> URL:
    """Parse the base URL of an endpoint and end its path with a slash; ParamsError, with its `name`, if invalid."""
    try:
        url = URL(base)
        if url.scheme not in ("http", "https") or not url.host:
            raise ValueError
    except ValueError:  # the message omits the address, which may hold a password
        raise ParamsError(f"{name}: not an http or https address with a host name; correct it") from None
    return url if url.path.endswith("/") else url.with_path(url.path + "/")


def join(current: URL, location: str) -> URL:
    """Resolve the `Location` of a redirect, unchanged but for spaces: it may be signed; ValueError if it is invalid."""
    return current.join(URL(location.strip().replace(" ", "%20"), encoded=True)).with_user(None)


def is_private(url: URL) -> bool:
    """Whether the request cannot be read on the network: https, or a server on this machine."""
    return url.scheme == "https" or url.host in ("127.0.0.1", "::1", "localhost")


def find_proxy(target: URL) -> str | None:
    """The proxy that the environment names for a URL."""
    if not target.host or urllib.request.proxy_bypass(target.host):
        return None
    proxy = urllib.request.getproxies().get(target.scheme)
    return proxy if not proxy or "://" in proxy else f"http://{proxy}"  # as curl interprets it


def find_credential(host: str) -> SecretStr | None:
    """The `Authorization` header for a host, or None.

    Raises:
        AcquisitionError: one of two environment variables is missing, or netrc is unreadable.
    """
    if host == HUB:
        from huggingface_hub import get_token  # from HF_TOKEN or `hf auth login`

        token = get_token()
        return SecretStr(f"Bearer {token}") if token else None
    pair = _read_environment(host) or _read_netrc(host)
    return SecretStr("Basic " + base64.b64encode(":".join(pair).encode()).decode("ascii")) if pair else None


def advise_login(host: str) -> str:
    """How the user can provide credentials for a host."""
    if host == HUB:
        return "set HF_TOKEN, or run `hf auth login`"
    names = VARIABLES.get(host)
    return (f"set {' and '.join(names)}, or add" if names else "add") + f" `machine {host}` to ~/.netrc"


def _read_environment(host: str) -> tuple[str, str] | None:
    names = VARIABLES.get(host)
    if names is None:
        return None
    user, password = (os.environ.get(name, "") for name in names)
    if bool(user) != bool(password):
        raise AcquisitionError(f"{names[0]} and {names[1]}: only one of them is set; set both or neither")
    return (user, password) if user else None


def _read_netrc(host: str) -> tuple[str, str] | None:
    """User and password of the host's own entry: a `default` entry would send a password to any host."""
    path = Path(os.environ.get("NETRC") or "~/.netrc")
    try:
        path = path.expanduser()
        entry = netrc.netrc(path).hosts.get(host)
    except (FileNotFoundError, RuntimeError):  # RuntimeError: a user without a home folder, as in containers
        return None
    except (netrc.NetrcParseError, OSError, UnicodeDecodeError):  # a message of netrc may quote a password
        raise AcquisitionError(f"{path}: unreadable or invalid; correct it, or set NETRC to another file") from None
    return (entry[0], entry[2] or "") if entry else None
