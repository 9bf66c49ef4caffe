"""`demo`: a web page on loopback that queries the trained model about images."""

import importlib.util
import os
import socket
import sys
from pathlib import Path
from typing import NoReturn

from openmedq import paths
from openmedq.errors import ModelError, ParamsError

PAGE = Path(__file__).with_name("page.py")
MAX_UPLOAD_MB = 50
OPTIONS = {
    "server.headless": "true",  # does not open a browser or ask for an e-mail address
    "server.fileWatcherType": "none",
    "server.maxUploadSize": str(MAX_UPLOAD_MB),
    "client.toolbarMode": "minimal",
    "client.showErrorDetails": "type",  # stack traces are printed in the terminal only
}


def serve(host: str, port: int) -> NoReturn:
    """Replace this process by Streamlit's server of `page.py`; ModelError without a trained model."""
    if not (paths.MODEL / "config.json").exists():
        raise ModelError(f"{paths.MODEL}: no model; run `dvc repro train`")
    if importlib.util.find_spec("streamlit") is None:
        raise ModuleNotFoundError("No module named 'streamlit'", name="streamlit")
    check_free(host, port)
    options = {**OPTIONS, "server.address": host, "server.port": str(port)}
    hosts = [("server.allowedHosts", name) for name in (host, "127.0.0.1", "localhost", "::1")]  # against DNS rebinding
    flags = [word for name, value in (*options.items(), *hosts) for word in (f"--{name}", value)]
    os.execv(sys.executable, [sys.executable, "-m", "streamlit", "run", str(PAGE), *flags])


def check_free(host: str, port: int, options: str = "--host or --port") -> None:
    """ParamsError, which names the `options` of the command, if no server can listen there."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the servers set it
        try:
            probe.bind((host, port))
        except OSError as error:  # the servers would end with a stack trace
            raise ParamsError(f"{host}, port {port}: {error.strerror}; choose another {options}") from None
