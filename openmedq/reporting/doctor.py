"""Command `doctor`: what this machine has for the settings of params.yaml, what it lacks, and what to do."""

import importlib.metadata
import importlib.util
import platform
import shutil
import socket
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil
from rich.console import Console
from rich.filesize import decimal
from rich.markup import escape
from yarl import URL

from openmedq.config import Params
from openmedq.datasets import DATASETS
from openmedq.datasets.card import Card
from openmedq.errors import OpenMedQError
from openmedq.extras import EXTRAS
from openmedq.fetch import addresses, mirror, needs, planning

PYTHONS = ((3, 11), (3, 12), (3, 13))
PORTS = {"Prefect": 4200, "MLflow": 5000, "the demo": 8501}
OPTIONAL = ("liger",)  # extras that no stage needs
STATES = {"ok": "green", "note": "yellow", "missing": "red"}


@dataclass(frozen=True)
class Check:
    """One line of the table; `missing` means that `dvc repro` would stop."""

    name: str
    state: str  # of STATES
    found: str
    advice: str = ""


def run(params: Params, console: Console) -> int:
    """Print all checks; return 1 if something is missing, else 0."""
    checks = list(examine(params))
    width = max(len(each.name) for each in checks)
    for each in checks:
        line = f"[{STATES[each.state]}]{each.state:<8}[/]{each.name:<{width}}  {escape(each.found)}"
        console.print(line, soft_wrap=True, highlight=False)
        if each.advice:
            console.print(f"{'':<8}-> {each.advice}", soft_wrap=True, highlight=False, markup=False)
    return int(any(each.state == "missing" for each in checks))


def examine(params: Params) -> Iterator[Check]:
    """Yield the checks; no file is written and no host is asked."""
    python = f"{platform.python_version()}, {sys.executable}"
    advice = "use Python 3.11, 3.12 or 3.13: make PYTHON=/path/to/python3.12"
    yield _judge("Python", python, sys.version_info[:2] in PYTHONS, advice)
    git = shutil.which("git")
    advice = "install it: DVC and MLflow's lineage need it (apt install git)"
    yield _judge("git", git or "not found", git is not None, advice)
    yield _check_packages()
    cards = {name: dataset.card for name, dataset in DATASETS.items()}
    if importlib.util.find_spec("torch"):
        yield from _check_devices(params)
    yield _check_folder(params, cards)
    yield _check_disk(params)
    yield from _check_credentials(params, cards)
    yield from _check_ports()


def _judge(name: str, found: str, is_ok: bool, advice: str, state: str = "missing") -> Check:
    """A check that is ok, or else of a state with an advice."""
    return Check(name, "ok", found) if is_ok else Check(name, state, found, advice)


def _check_packages() -> Check:
    lacking = {package: extra for package, extra in EXTRAS.items() if importlib.util.find_spec(package) is None}
    required = {package: extra for package, extra in lacking.items() if extra not in OPTIONAL}
    if not required:
        versions = (f"{name} {importlib.metadata.version(name)}" for name in ("torch", "transformers", "dvc", "mlflow"))
        return Check("packages", "ok", ", ".join(versions))
    extras = ",".join(dict.fromkeys(required.values()))
    advice = "run `make .venv`" if Path("pyproject.toml").is_file() else f"pip install 'openmedq[{extras}]'"
    return Check("packages", "missing", f"without {', '.join(required)}", advice)


def _check_devices(params: Params) -> Iterator[Check]:
    from openmedq.model.hardware import find_gpus

    cores, memory = psutil.cpu_count(logical=False) or psutil.cpu_count(), psutil.virtual_memory()
    yield Check(
        "processors", "ok", f"{cores} cores, {decimal(memory.total)} of memory, {decimal(memory.available)} free"
    )
    if gpus := find_gpus():
        found = ", ".join(f"{name} ({decimal(size)})" for name, size in gpus)
        yield Check("GPU", "ok", found, "`python -m openmedq estimate` shows what fits")
    elif params.execution.device == "cuda":
        advice = "execution.device is cuda: set auto or cpu, or install a CUDA build of torch"
        yield Check("GPU", "missing", "none", advice)
    else:
        advice = "this training is made for a GPU; `python -m openmedq estimate` shows the hours"
        yield _judge("GPU", "none; the CPU is used", params.train.precision != "bf16", advice, "note")


def _check_folder(params: Params, cards: Mapping[str, Card]) -> Check:
    folder, name = Path(params.download.mirror), "local data folder"
    try:
        mirror.require(params, cards)
        if mirror.is_miniature(folder):
            return Check(name, "ok", f"{folder}: generated miniatures")
        datasets = mirror.match_folders(folder, cards, may_be_empty=True)
    except OpenMedQError as error:
        return Check(name, "missing", str(folder), str(error))
    return Check(name, "ok", f"{folder}: {', '.join(datasets) or 'no dataset yet'}")


def _check_disk(params: Params) -> Check:
    free = shutil.disk_usage(".").free
    steps = planning.plan(params, DATASETS) if params.download.fetch else []
    needed = sum(step.disk_bytes for step in steps)
    found = f"{decimal(free)} free" + (f", {decimal(needed)} needed by downloads and shards" if needed else "")
    advice = "free some, or list datasets in download.skip; see `python -m openmedq plan`"
    return _judge("disk", found, needed <= free, advice)


def _check_credentials(params: Params, cards: Mapping[str, Card]) -> Iterator[Check]:
    for card in cards.values():
        if card.access not in needs.GUARDED or card.id in params.download.skip:
            continue
        for host in sorted({URL(file.url).host or "" for file in card.files}):
            name = f"credentials for {host}"
            try:
                is_found = addresses.find_credential(host) is not None
            except OpenMedQError as error:
                yield Check(name, "note", "incomplete", str(error))
                continue
            is_needed = params.download.fetch and not needs.is_whole(card)
            advice = "" if is_found else f"{card.title} needs them: {addresses.advise_login(host)}"
            yield Check(name, "ok" if is_found or not is_needed else "note", "found" if is_found else "none", advice)


def _check_ports() -> Iterator[Check]:
    for program, port in PORTS.items():
        with socket.socket() as probe:
            probe.settimeout(1)
            is_used = probe.connect_ex(("127.0.0.1", port)) == 0
        found = "in use" if is_used else f"free, for {program}"
        advice = f"if {program} does not run yet, give it another port: see its --help"
        yield _judge(f"port {port}", found, not is_used, advice, "note")
