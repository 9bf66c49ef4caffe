import shutil
import socket
from pathlib import Path
from typing import Any

import pytest

from openmedq import config, paths
from openmedq.cli import main
from openmedq.reporting import doctor
from openmedq.reporting.doctor import Check

PASSWORD = "hunter2-secret"


@pytest.fixture(autouse=True)
def _project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["profile", "miniature"]) == 0
    assert main(["catalogue"]) == 0


def examine(**changes: dict[str, Any]) -> dict[str, Check]:
    params = config.load(paths.PARAMS)
    for name, change in changes.items():
        params = params.model_copy(update={name: getattr(params, name).model_copy(update=change)})
    return {check.name: check for check in doctor.examine(params)}


def test_a_complete_machine_lacks_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    assert {check.state for check in examine().values()} <= {"ok", "note"}
    assert "missing" not in capsys.readouterr().out


def test_a_missing_folder_is_named_and_the_status_is_1(capsys: pytest.CaptureFixture[str]) -> None:
    text = paths.PARAMS.read_text(encoding="utf-8").replace("mirror: data/miniature", "mirror: nowhere")
    paths.PARAMS.write_text(text, encoding="utf-8")
    assert main(["doctor"]) == 1
    assert "nowhere" in capsys.readouterr().out


def test_a_small_disk_is_missing_space(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 9, 1))
    Path("data/supplied").mkdir(parents=True)
    fetched = {"fetch": True, "mirror": "data/supplied"}
    assert examine(download=fetched)["disk"].state == "missing"
    assert examine()["disk"].state == "ok"  # nothing is downloaded


def test_cuda_without_a_gpu_is_missing() -> None:
    assert examine(execution={"device": "cuda"})["GPU"].state == "missing"


def test_a_package_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "EXTRAS", {"surely_not_installed": "train", "also_not": "liger"})
    check = examine()["packages"]
    assert (check.state, check.found) == ("missing", "without surely_not_installed")
    assert "openmedq[train]" in check.advice


def test_credentials_are_found_and_not_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "PHYSIONET_USERNAME" in examine()["credentials for physionet.org"].advice
    monkeypatch.setenv("PHYSIONET_USERNAME", "ada")
    monkeypatch.setenv("PHYSIONET_PASSWORD", PASSWORD)
    assert examine()["credentials for physionet.org"].found == "found"
    assert main(["doctor"]) == 0
    assert PASSWORD not in capsys.readouterr().out


def test_a_port_in_use_is_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        monkeypatch.setattr(doctor, "PORTS", {"Prefect": port})
        assert examine()[f"port {port}"].state == "note"
    assert examine()[f"port {port}"].state == "ok"
