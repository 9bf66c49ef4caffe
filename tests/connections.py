"""Keeps the processes of a test from the network, and writes down what they tried.

`environment = guard(folder)` is for any command that a test starts; `read_attempts(folder)` are the targets that are
not loopback, one a line. It sees what Python opens, in the command and in all that it starts: CPython itself reports
each connection, whichever library asks for it.
"""

import os
from pathlib import Path

SHIM = """
import ipaddress, os, socket, sys

def is_near(host):
    if isinstance(host, bytes):
        host = host.decode()
    if host in (None, "", "localhost", socket.gethostname()):
        return True
    try:
        address = ipaddress.ip_address(str(host).partition("%")[0])
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified

def watch(event, arguments):
    if event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
        target = arguments[1]
        host = target[0] if isinstance(target, tuple) else None  # else: a socket of this machine, by its path
    elif event in ("socket.getaddrinfo", "socket.gethostbyname"):
        host = arguments[0]
    else:
        return
    if not is_near(host):
        with open(os.environ["OPENMEDQ_ATTEMPTS"], "a") as log:
            log.write(f"{host} {event} {' '.join(sys.argv[:3])}\\n")
        raise ConnectionRefusedError(f"a test asked for the network: {host}")

sys.addaudithook(watch)
"""


def guard(folder: Path) -> dict[str, str]:
    """What to add to a command's environment; the log of attempts lies in `folder`."""
    (folder / "guard").mkdir(exist_ok=True)
    (folder / "guard" / "sitecustomize.py").write_text(SHIM, encoding="utf-8")
    path = os.pathsep.join(filter(None, [str(folder / "guard"), os.environ.get("PYTHONPATH")]))
    return {"PYTHONPATH": path, "OPENMEDQ_ATTEMPTS": str(folder / "attempts.txt")}


def read_attempts(folder: Path) -> list[str]:
    """What was asked for that is not loopback."""
    log = folder / "attempts.txt"
    return log.read_text(encoding="utf-8").splitlines() if log.exists() else []
