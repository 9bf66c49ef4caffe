"""`demo`: a page on loopback that asks the trained model about a picture, until Ctrl-C."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from typing import NoReturn

from openmedq import paths
from openmedq.errors import ModelError

PAGE = Path(__file__).with_name("page.py")
MAX_UPLOAD_MB = 50
OPTIONS = {
    "server.headless": "true",  # opens no browser, and asks nobody for an e-mail address
    "server.fileWatcherType": "none",
    "server.maxUploadSize": str(MAX_UPLOAD_MB),
    "client.toolbarMode": "minimal",
    "client.showErrorDetails": "type",  # a stack trace is for the terminal
}


def serve(host: str, port: int) -> NoReturn:
    """Become Streamlit's server of `page.py`; it keeps what is uploaded in memory, for its session alone.

    Raises:
        ModelError: nothing is trained yet.
    """
    if not (paths.MODEL / "config.json").exists():
        raise ModelError(f"{paths.MODEL}: no model is there yet; `dvc repro train` trains one")
    if importlib.util.find_spec("streamlit") is None:
        raise ModuleNotFoundError("No module named 'streamlit'", name="streamlit")
    options = {**OPTIONS, "server.address": host, "server.port": str(port)}
    hosts = [("server.allowedHosts", name) for name in (host, "127.0.0.1", "localhost", "::1")]  # against DNS rebinding
    flags = [word for name, value in (*options.items(), *hosts) for word in (f"--{name}", value)]
    os.execv(sys.executable, [sys.executable, "-m", "streamlit", "run", str(PAGE), *flags])
