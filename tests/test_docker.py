"""compose.yaml and the entrypoint of its images: services are confined, and secrets come from files."""

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from openmedq import TELEMETRY_OFF

ROOT = Path(__file__).parents[1]
DOCKER = ROOT / "docker"
COMPOSE = yaml.safe_load((DOCKER / "compose.yaml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
IS_SECRET = re.compile(r"PASSWORD|PASSWD|SECRET|TOKEN|API_KEY|CREDENTIAL|AUTH_STRING")

every_service = pytest.mark.parametrize("service", SERVICES.values(), ids=SERVICES)


@every_service
def test_a_service_is_confined_and_published_on_loopback_only(service: dict[str, Any]) -> None:
    assert all(re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port) for port in service.get("ports", []))
    assert "network_mode" not in service and service.get("pid") != "host"
    assert service["read_only"] is True and service["cap_drop"] == ["ALL"]
    assert not service.keys() & {"cap_add", "privileged", "env_file"}
    assert not re.match(r"(0|root)\b", service["user"])
    assert not set(service.get("environment", {})) & set(TELEMETRY_OFF)


@every_service
def test_secrets_come_from_files(service: dict[str, Any]) -> None:
    files = {f"/run/secrets/{secret}" for secret in service.get("secrets", [])}
    for name, value in service.get("environment", {}).items():
        assert not re.search(r"://[^/@]*:[^/@]*@", str(value)), name
        assert not IS_SECRET.search(name) or (name.endswith(("_FILE", "_PATH")) and value in files)
    command = " ".join(map(str, service.get("command", [])))
    assert not re.search(r"password|secret|://[^/\s]*:[^/\s]*@", command, re.IGNORECASE)
    assert set(service.get("secrets", [])) <= COMPOSE["secrets"].keys()


def test_files_of_secrets_are_ignored_by_git() -> None:
    assert COMPOSE["secrets"] == {name: {"file": f"./secrets/{name}"} for name in COMPOSE["secrets"]}
    assert "/docker/secrets/" in (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()


def test_the_servers_answer_to_their_own_names_only() -> None:
    prefect, mlflow = (" ".join(SERVICES[name]["command"]) for name in ("prefect", "mlflow"))
    assert prefect.startswith("python -m flows.server ") and "--allowed-hosts=prefect:4200" in prefect
    assert "--allowed-hosts=mlflow:5000,127.0.0.1:5000,localhost:5000" in mlflow and "*" not in mlflow
    assert COMPOSE["networks"]["store"] == {"internal": True} and SERVICES["postgres"]["networks"] == ["store"]


@pytest.mark.parametrize("secret", ["plain", 'a\'b@c:/%d $HOME `id` "x" \\n', "two words ", ""])
def test_the_entrypoint_hands_on_a_secret_unchanged_or_names_the_missing_one(secret: str, tmp_path: Path) -> None:
    text = (DOCKER / "with-secrets.sh").read_text(encoding="utf-8").replace("/run/secrets", str(tmp_path))
    script = tmp_path / "with-secrets"
    script.write_text(text, encoding="utf-8")
    (tmp_path / "database").write_text(f"{secret}\n" if secret else "", encoding="utf-8")
    environment = {"PATH": os.defpath, "PGPASSWORD_FILE": f"{tmp_path}/database"}
    done = subprocess.run(["sh", script, "printenv", "PGPASSWORD"], env=environment, capture_output=True, text=True)
    if secret:
        assert (done.stdout, done.stderr, done.returncode) == (f"{secret}\n", "", 0)
    else:
        assert (done.stdout, done.returncode) == ("", 1) and done.stderr.startswith("error: PGPASSWORD_FILE: ")
