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


def test_one_worker_serves_each_pool_of_the_deployments() -> None:
    deployments = yaml.safe_load((ROOT / "prefect.yaml").read_text(encoding="utf-8"))["deployments"]
    commands = [" ".join(service.get("command", [])) for service in SERVICES.values()]
    for pool in {each["work_pool"]["name"] for each in deployments}:
        assert sum(f"--pool {pool} " in command for command in commands) == 1


def test_the_image_sends_no_telemetry_and_is_not_root() -> None:
    lines = (DOCKER / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", "").splitlines()
    (base,) = {line.split()[1] for line in lines if line.startswith("FROM ")}
    assert re.fullmatch(r"python:3\.1[123]-slim-bookworm", base)
    assert [line for line in lines if line.startswith("USER ")] == ["USER 1000:1000"]
    settings = dict(re.findall(r"(\w+)=(\S+)", " ".join(line for line in lines if line.startswith("ENV "))))
    assert settings.items() >= TELEMETRY_OFF.items()
    assert {service["build"]["dockerfile"] for service in SERVICES.values() if "build" in service} == {
        "docker/Dockerfile"
    }
    copied = {name for line in lines if line.startswith("COPY ") for name in line.split()[1:-1] if name[0] not in "-/"}
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines() if line[0] == "!"}
    assert copied == kept


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
