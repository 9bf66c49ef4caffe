"""Map from imported packages to the extras of pyproject.toml, and the error for a package that is not installed."""

import sys
from pathlib import Path

EXTRAS = {  # imported name: extra; packages that are not listed are base dependencies
    "img2dataset": "fetch",
    "alembic": "pipeline",
    "duckdb": "pipeline",
    "dvc": "pipeline",
    "great_expectations": "pipeline",
    "httpx": "pipeline",
    "jinja2": "pipeline",
    "markupsafe": "pipeline",
    "matplotlib": "pipeline",
    "mlflow": "pipeline",
    "pandas": "pipeline",
    "prefect": "pipeline",
    "scipy": "pipeline",
    "sklearn": "pipeline",
    "sqlalchemy": "pipeline",
    "starlette": "pipeline",
    "uvicorn": "pipeline",
    "nltk": "train",
    "onnx": "train",
    "peft": "train",
    "punkt": "train",
    "safetensors": "train",
    "threadpoolctl": "train",
    "tokenizers": "train",
    "torch": "train",
    "transformers": "train",
    "streamlit": "demo",
    "liger_kernel": "liger",
    "pydicom": "dicom",
    "dask": "cluster",
    "distributed": "cluster",
}


def describe_missing(error: ModuleNotFoundError, command: str) -> str:
    """Return one line: the package that `command` needs and how to install it. Re-raise `error` for our own modules."""
    package = (error.name or "").partition(".")[0]
    if package in ("", "openmedq", "flows"):
        raise error
    if (Path(__file__).parents[1] / "pyproject.toml").is_file():  # a checkout
        how = "run `make .venv`, then `source .venv/bin/activate`"
        return f"{command} needs {package}, which is not installed for {sys.executable}; {how}"
    extra = f"[{EXTRAS[package]}]" if package in EXTRAS else ""
    return f"{command} needs {package}; pip install 'openmedq{extra}'"
