"""Dockerfiles and compose.yaml: checks that need no container engine."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from openmedq import TELEMETRY_OFF

ROOT = Path(__file__).parents[1]
DOCKER = ROOT / "docker"
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
COMPOSE = yaml.safe_load((DOCKER / "compose.yaml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
IS_SECRET = re.compile(r"PASSWORD|PASSWD|SECRET|TOKEN|API_KEY|CREDENTIAL|AUTH_STRING")

dockerfile = pytest.mark.parametrize("name", ["pipeline.Dockerfile", "train.Dockerfile"])
every_service = pytest.mark.parametrize("service", SERVICES.values(), ids=SERVICES)


def _instructions(name: str) -> list[tuple[str, str]]:
    """A Dockerfile's instructions in order, without comments, continued lines joined."""
    lines = [line for line in (DOCKER / name).read_text(encoding="utf-8").splitlines() if line[:1] != "#"]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    split = (line.partition(" ") for line in joined.splitlines() if line)
    return [(word, rest.strip()) for word, _, rest in split]


@dockerfile
def test_versions_are_those_of_the_makefile_and_the_lock(name: str) -> None:
    found = _instructions(name)
    version = re.search(r"foreach name,python(3\.\d+) ", MAKEFILE)
    assert version and "--require-hashes -r requirements.lock" in MAKEFILE
    bases = {rest.split()[0] for word, rest in found if word == "FROM"}
    assert len(bases) == 1 and re.fullmatch(rf"python:{version[1]}-slim-[a-z]+(@sha256:[0-9a-f]{{64}})?", bases.pop())
    assert ("COPY", "Makefile requirements.lock ./") in found
    assert sum("make .venv" in rest for word, rest in found if word == "RUN") == 1
    assert not re.search(r"\bpip3?\b.*\binstall\b|\bconda\b|==|://", "\n".join(rest for _, rest in found))


@dockerfile
def test_an_image_is_silent_and_holds_no_secret_and_does_not_run_as_root(name: str) -> None:
    found = _instructions(name)
    pairs = [pair for word, rest in found if word == "ENV" for pair in shlex.split(rest)]
    assert dict(pair.split("=", 1) for pair in pairs).items() >= TELEMETRY_OFF.items()
    assert not any(IS_SECRET.search(rest) for word, rest in found if word in ("ENV", "ARG"))
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", [rest for word, rest in found if word == "USER"][-1])
    assert ("ENTRYPOINT", '["with-secrets"]') in found


def test_the_training_image_is_the_pipelines_with_the_drivers_settings() -> None:
    extra = [line for line in _instructions("train.Dockerfile") if line not in _instructions("pipeline.Dockerfile")]
    assert [line for line in _instructions("train.Dockerfile") if line not in extra] == _instructions(
        "pipeline.Dockerfile"
    )
    assert [word for word, _ in extra] == ["ENV"] and "NVIDIA_VISIBLE_DEVICES" in extra[0][1]


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


def test_the_servers_are_started_with_their_own_names_only() -> None:
    prefect, mlflow = (" ".join(SERVICES[name]["command"]) for name in ("prefect", "mlflow"))
    assert prefect.startswith("python -m flows.server ") and "--allowed-hosts=prefect:4200" in prefect
    assert "--allowed-hosts=mlflow:5000,127.0.0.1:5000,localhost:5000" in mlflow and "*" not in mlflow
    assert COMPOSE["networks"]["store"] == {"internal": True} and SERVICES["postgres"]["networks"] == ["store"]


def test_one_worker_serves_each_pool_of_prefect_yaml() -> None:
    declared = yaml.safe_load((ROOT / "prefect.yaml").read_text(encoding="utf-8"))["deployments"]
    commands = [service["command"] for service in SERVICES.values() if "worker" in service.get("command", [])]
    pools = sorted(command[command.index("--pool") + 1] for command in commands)
    assert pools == sorted({each["work_pool"]["name"] for each in declared})


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
