"""The images and compose.yaml, held to the Makefile, the lock, prefect.yaml and silence.py. Needs no engine."""

import ast
import os
import re
import shlex
import stat
import subprocess
from fnmatch import fnmatchcase
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml

from openmedq import TELEMETRY_OFF

ROOT = Path(__file__).parents[1]
DOCKER = ROOT / "docker"
DOCKERFILES = ("pipeline.Dockerfile", "train.Dockerfile")
COMPOSE = yaml.safe_load((DOCKER / "compose.yaml").read_text())
SERVICES = COMPOSE["services"]
MAKEFILE = (ROOT / "Makefile").read_text()
LOCK = dict(re.findall(r"^([a-z0-9][a-z0-9._-]*)==(\S+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE))
POOLS = {d["work_pool"]["name"] for d in yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]}
OUR_IMAGES = {"openmedq-pipeline", "openmedq-train"}
IS_SECRET = re.compile(r"PASSWORD|PASSWD|SECRET|TOKEN|API_KEY|CREDENTIAL|AUTH_STRING")


def instructions(name: str) -> list[tuple[str, str]]:
    """A Dockerfile's instructions in order, without comments, continued lines joined."""
    lines = [line for line in (DOCKER / name).read_text().splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [
        (word.upper(), rest.strip()) for word, _, rest in (line.partition(" ") for line in joined.splitlines() if line)
    ]


def stages(name: str) -> list[list[tuple[str, str]]]:
    """The instructions of each stage, its FROM first."""
    found: list[list[tuple[str, str]]] = []
    for word, rest in instructions(name):
        if word == "FROM":
            found.append([])
        found[-1].append((word, rest))
    return found


def environment(name: str) -> dict[str, str]:
    """What the final stage's ENV sets."""
    pairs = [pair for word, rest in stages(name)[-1] if word == "ENV" for pair in shlex.split(rest)]
    return dict(pair.split("=", 1) for pair in pairs)


def words(service: dict) -> list[str]:
    return [str(word) for word in service.get("command", [])]


dockerfile = pytest.mark.parametrize("name", DOCKERFILES)
every_service = pytest.mark.parametrize("service", SERVICES.values(), ids=SERVICES)
our_service = pytest.mark.parametrize(
    "service", [pytest.param(s, id=n) for n, s in SERVICES.items() if s["image"] in OUR_IMAGES]
)


# The images


@dockerfile
def test_the_environment_is_the_makefiles_and_no_second_version_is_said(name):
    builder, final = stages(name)
    assert sum("make .venv" in rest for word, rest in builder if word == "RUN") == 1
    assert ("COPY", "Makefile requirements.lock ./") in builder
    assert "--require-hashes -r requirements.lock" in MAKEFILE
    text = "\n".join(rest for _, rest in instructions(name))
    assert not re.search(r"\bpip3?\b.*\b(install|download)\b|\buv\b|\bconda\b|==", text)
    assert not any(word == "RUN" and "make" in rest for word, rest in final)


@dockerfile
def test_the_base_is_the_makefiles_python_pinned_and_the_same_in_both_stages(name):
    version = re.search(r"foreach name,python(3\.\d+) ", MAKEFILE)[1]
    bases = {rest.split()[0] for word, rest in instructions(name) if word == "FROM"}
    assert len(bases) == 1
    assert re.fullmatch(rf"python:{re.escape(version)}-slim-[a-z]+(@sha256:[0-9a-f]{{64}})?", bases.pop())


@dockerfile
def test_the_last_stage_takes_the_environment_from_the_builder_at_its_own_path(name):
    builder, final = stages(name)
    alias = builder[0][1].split(" AS ")[1]
    venv = f"{next(rest for word, rest in builder if word == 'WORKDIR')}/.venv"
    copies = [rest for word, rest in final if word == "COPY" and "--from=" in rest]
    assert copies == [f"--from={alias} {venv} {venv}"]
    assert environment(name)["PATH"].split(":")[0] == f"{venv}/bin"
    installed = re.search(r"apt-get install --yes --no-install-recommends ([a-z ]+)", str(final))[1].split()
    assert installed == ["git"]


@dockerfile
def test_the_user_is_a_number_that_is_not_root(name):
    users = [rest for word, rest in stages(name)[-1] if word == "USER"]
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", users[-1])
    after = [word for word, _ in stages(name)[-1]]
    assert not {"RUN", "COPY"} & set(after[after.index("USER") :])


@dockerfile
def test_nothing_is_fetched_by_url_and_no_secret_is_baked_in(name):
    for word, rest in instructions(name):
        assert word != "ADD"
        assert "://" not in rest, "an index or a download is the builder's to name, not the file's"
        if word in ("ENV", "ARG"):
            assert not IS_SECRET.search(rest)


@dockerfile
def test_telemetry_is_off_word_for_word_as_in_silence(name):
    assert environment(name).items() >= TELEMETRY_OFF.items()


def test_the_training_image_is_the_pipelines_with_the_drivers_settings():
    extra = [line for line in instructions("train.Dockerfile") if line not in instructions("pipeline.Dockerfile")]
    assert [line for line in instructions("train.Dockerfile") if line not in extra] == instructions(
        "pipeline.Dockerfile"
    )
    assert [shlex.split(rest) for _, rest in extra] == [
        ["NVIDIA_VISIBLE_DEVICES=all", "NVIDIA_DRIVER_CAPABILITIES=compute,utility"]
    ]


@dockerfile
def test_the_entrypoint_is_the_script_in_exec_form(name):
    final = stages(name)[-1]
    assert ("COPY", "--chmod=755 docker/with-secrets.sh /usr/local/bin/with-secrets") in final
    assert [ast.literal_eval(rest) for word, rest in final if word == "ENTRYPOINT"] == [["with-secrets"]]


def test_the_engine_gets_the_copied_files_and_nothing_else():
    patterns = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    assert patterns[0] == "*"
    sources = set()
    for word, rest in (pair for name in DOCKERFILES for pair in instructions(name)):
        if word == "COPY" and "--from=" not in rest:
            sources |= {source for source in rest.split()[:-1] if not source.startswith("--")}
    assert {pattern.removeprefix("!") for pattern in patterns[1:]} == sources
    assert all(pattern.startswith("!") for pattern in patterns[1:])
    for kept_out in ("data/raw", ".venv/bin/python", ".git/config", "mlruns/0", "mlflow.db", "docker/secrets/x"):
        assert not any(fnmatchcase(kept_out, pattern[1:]) for pattern in patterns[1:])
    assert all((ROOT / source).is_file() for source in sources)


# compose.yaml


def test_one_worker_for_each_pool_of_prefect_yaml():
    workers = [words(service) for service in SERVICES.values() if "worker" in words(service)]
    assert all(command[:3] == ["prefect", "worker", "start"] for command in workers)
    assert sorted(command[command.index("--pool") + 1] for command in workers) == sorted(POOLS)


def test_the_gpu_is_the_gpu_pools_alone():
    for service in SERVICES.values():
        is_gpu = "worker" in words(service) and words(service)[words(service).index("--pool") + 1] == "gpu"
        devices = service.get("deploy", {}).get("resources", {}).get("reservations", {}).get("devices", [])
        assert [device["driver"] for device in devices] == (["nvidia"] if is_gpu else [])
        assert service.get("profiles", []) == (["gpu"] if is_gpu else [])
        assert (service["image"] == "openmedq-train") == is_gpu


def test_workers_on_one_checkout_see_each_others_processes():
    """DVC takes a lock whose process it can't see for a dead one's, and breaks it."""
    workers = {name: service for name, service in SERVICES.items() if "worker" in words(service)}
    owners = [name for name, service in workers.items() if "pid" not in service]
    assert len(owners) == 1
    assert {service["pid"] for service in workers.values() if "pid" in service} == {f"service:{owners[0]}"}
    assert SERVICES[owners[0]]["init"] is True
    assert len({service["volumes"][0] for service in workers.values()}) == 1


def test_flows_are_found_where_they_were_declared():
    """A deployment keeps the folder that `prefect deploy` ran in; the checkout must be there in the workers as well."""
    assert words(SERVICES["schedule"]) == ["python", "-m", "flows.schedule"]
    checkouts = {
        volume.removesuffix(":ro")
        for name in SERVICES
        for volume in SERVICES[name].get("volumes", [])
        if volume.startswith("..:")
    }
    assert checkouts == {"..:/project"}
    for name in DOCKERFILES:
        assert ("WORKDIR", "/project") in stages(name)[-1]
        assert any("safe.directory /project" in rest for word, rest in stages(name)[-1] if word == "RUN")


@every_service
def test_ports_are_published_on_loopback_only(service):
    assert all(re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port) for port in service.get("ports", []))
    assert service.get("network_mode") is None
    assert service.get("pid") != "host"


def test_the_database_is_reached_by_the_servers_alone():
    assert COMPOSE["networks"]["store"] == {"internal": True}
    assert {name for name, service in SERVICES.items() if "store" in service.get("networks", [])} == {
        "postgres",
        "prefect",
        "mlflow",
    }
    assert SERVICES["postgres"]["networks"] == ["store"]


@every_service
def test_what_runs_long_is_health_checked_and_what_starts_waits_for_health(service):
    if service["restart"] == "no":
        assert "healthcheck" not in service
    else:
        assert service["healthcheck"]["test"][0] == "CMD"
        assert service["healthcheck"].keys() >= {"interval", "timeout", "retries", "start_period"}
    for other, how in service.get("depends_on", {}).items():
        runs_once = SERVICES[other]["restart"] == "no"
        assert how == {"condition": "service_completed_successfully" if runs_once else "service_healthy"}


@our_service
def test_health_checks_ask_the_port_that_the_service_listens_on(service):
    if "healthcheck" not in service:
        return
    program, option, code = service["healthcheck"]["test"][1:]
    assert (program, option) == ("python", "-c")
    compile(code, "healthcheck", "exec")
    asked = urlsplit(re.search(r"http://[^']+", code)[0])
    assert asked.hostname == "127.0.0.1"
    listened = re.search(r"--port[= ](\d+)", " ".join(words(service)))
    if listened:
        assert asked.port == int(listened[1])
        assert service["ports"] == [f"127.0.0.1:{asked.port}:{asked.port}"]
    else:
        assert "--with-healthcheck" in words(service)
        assert asked.port == 8080  # Prefect's own, unless PREFECT_WORKER_WEBSERVER_PORT says otherwise


@every_service
def test_services_are_confined(service):
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "cap_add" not in service
    assert "privileged" not in service
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not any("docker.sock" in str(volume) for volume in service.get("volumes", []))
    assert not re.match(r"(0|root)\b", service["user"])


@our_service
def test_our_images_are_built_here_and_never_pulled(service):
    assert service["pull_policy"] == "never"
    built = {s["image"]: s["build"] for s in SERVICES.values() if "build" in s}
    assert set(built) == OUR_IMAGES
    assert {image: build["dockerfile"] for image, build in built.items()} == {
        f"openmedq-{name.split('.')[0]}": f"docker/{name}" for name in DOCKERFILES
    }
    assert all((DOCKER / build["context"] / build["dockerfile"]).is_file() for build in built.values())
    indexes = [build["args"]["TORCH_INDEX"] for build in built.values()]
    assert len(set(indexes)) == 2, "a CPU index must not reach the CUDA image"
    assert all(re.fullmatch(r"\$\{\w+:-\}", index) for index in indexes)


def test_foreign_images_are_pinned():
    foreign = {service["image"] for service in SERVICES.values()} - OUR_IMAGES
    assert foreign
    assert all(re.fullmatch(r"[a-z]+:\d[\w.-]*(@sha256:[0-9a-f]{64})?", image) for image in foreign)


# Secrets


def test_secrets_are_files_below_the_ignored_folder():
    assert COMPOSE["secrets"] == {name: {"file": f"./secrets/{name}"} for name in COMPOSE["secrets"]}
    assert {name for service in SERVICES.values() for name in service.get("secrets", [])} == set(COMPOSE["secrets"])
    assert "/docker/secrets/" in (ROOT / ".gitignore").read_text().splitlines()


@every_service
def test_no_value_and_no_command_line_holds_a_password(service):
    given = service.get("secrets", [])
    for name, value in service.get("environment", {}).items():
        assert not re.search(r"://[^/@]*:[^/@]*@", str(value)), name
        if IS_SECRET.search(name):
            assert name.endswith(("_FILE", "_PATH"))
            assert value in {f"/run/secrets/{secret}" for secret in given}
    assert not re.search(r"password|secret|://[^/\s]*:[^/\s]*@", " ".join(words(service)), re.IGNORECASE)
    assert "env_file" not in service


@pytest.fixture
def script(tmp_path: Path) -> Path:
    """The entrypoint, with its folder of secrets moved to where a test may write."""
    (tmp_path / "secrets").mkdir()
    copy = tmp_path / "with-secrets"
    copy.write_text((DOCKER / "with-secrets.sh").read_text().replace("/run/secrets", f"{tmp_path}/secrets"))
    copy.chmod(0o755)
    return copy


def _run(script: Path, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(script), *command], env={"PATH": os.defpath, **variables}, capture_output=True, text=True, timeout=30
    )


@pytest.mark.parametrize("secret", ["plain", 'a\'b@c:/%d $HOME `id` "x" \\n', "two words "])
def test_the_script_hands_a_files_secret_on_unchanged_and_runs_the_command(script, secret):
    (script.parent / "secrets/database").write_text(f"{secret}\n")
    done = _run(script, "printenv", "PGPASSWORD", PGPASSWORD_FILE=f"{script.parent}/secrets/database")
    assert (done.stdout, done.stderr, done.returncode) == (f"{secret}\n", "", 0)
    names = _run(script, "env", PGPASSWORD_FILE=f"{script.parent}/secrets/database").stdout
    assert "PGPASSWORD_FILE" not in names
    assert _run(script, "sh", "-c", "exit 7").returncode == 7
    assert _run(script, "sh", "-c", "echo $PPID").stdout == f"{os.getpid()}\n", "the command must get the signals"


@pytest.mark.parametrize("content", [None, ""])
def test_the_script_says_which_secret_is_missing_and_runs_nothing(script, content):
    if content is not None:
        (script.parent / "secrets/database").write_text(content)
    done = _run(script, "echo", "ran", PGPASSWORD_FILE=f"{script.parent}/secrets/database")
    assert (done.stdout, done.returncode) == ("", 1)
    assert done.stderr.startswith("error: PGPASSWORD_FILE: ")


def test_the_script_reads_nothing_but_secrets(script):
    done = _run(script, "env", SSL_CERT_FILE="/etc/hostname", odd_FILE=f"{script.parent}/secrets/database")
    assert "SSL_CERT_FILE=/etc/hostname" in done.stdout
    assert "SSL_CERT=" not in done.stdout
    assert done.returncode == 0


def test_the_script_can_be_executed():
    assert (DOCKER / "with-secrets.sh").stat().st_mode & stat.S_IXUSR


# Stores and addresses


def test_postgresql_is_the_store_of_both_servers():
    prefect, mlflow = SERVICES["prefect"]["environment"], SERVICES["mlflow"]["environment"]
    assert prefect["PREFECT_SERVER_DATABASE_DRIVER"] == "postgresql+asyncpg"
    assert prefect["PREFECT_SERVER_DATABASE_HOST"] == "postgres"
    assert "PREFECT_SERVER_DATABASE_CONNECTION_URL" not in prefect, "the parts would be ignored"
    store = urlsplit(mlflow["MLFLOW_BACKEND_STORE_URI"])
    assert store.scheme == "postgresql+psycopg2"
    assert not any("store-uri" in word for word in words(SERVICES["mlflow"])), "it would win over the variable"
    made = set(re.findall(r"CREATE DATABASE (\w+) OWNER (\w+);", (DOCKER / "postgres.sql").read_text()))
    wanted = {
        (prefect["PREFECT_SERVER_DATABASE_NAME"], prefect["PREFECT_SERVER_DATABASE_USER"]),
        (store.path.removeprefix("/"), store.username),
    }
    assert made == wanted
    assert "sqlite" not in (DOCKER / "compose.yaml").read_text()


def test_the_drivers_are_in_the_lock():
    packages = {"postgresql+asyncpg": "asyncpg", "postgresql+psycopg2": "psycopg2-binary"}
    text = (DOCKER / "compose.yaml").read_text()
    drivers = set(re.findall(r"postgresql\+\w+", text))
    assert drivers == set(packages)
    assert all(packages[driver] in LOCK for driver in drivers)


def test_the_database_reads_the_passwords_that_it_is_given():
    read = set(re.findall(r"/run/secrets/(\w+)", (DOCKER / "postgres.sql").read_text()))
    service = SERVICES["postgres"]
    assert read | {service["environment"]["POSTGRES_PASSWORD_FILE"].split("/")[-1]} == set(service["secrets"])
    assert "./postgres.sql:/docker-entrypoint-initdb.d/postgres.sql:ro" in service["volumes"]


@every_service
def test_hosts_that_urls_name_exist_and_listen_there(service):
    for value in service.get("environment", {}).values():
        for url in re.findall(r"[a-z0-9+]+://[^,\s]+", str(value)):
            parts = urlsplit(url)
            if parts.hostname in ("127.0.0.1", "localhost"):
                continue
            target = SERVICES[parts.hostname]
            ports = [int(port.split(":")[2]) for port in target.get("ports", [])]
            assert parts.port in (ports or [5432])
            mine, its = service.get("networks", ["default"]), target.get("networks", ["default"])
            assert set(mine) & set(its)


def options(service: dict) -> dict[str, str]:
    return dict(word.removeprefix("--").split("=", 1) for word in words(service) if "=" in word)


def addresses(variable: str) -> set[str]:
    """The hosts and ports under which the containers know a server."""
    urls = [service.get("environment", {}).get(variable) for service in SERVICES.values()]
    return {urlsplit(url).netloc for url in urls if url}


def test_prefect_is_started_by_the_starter_that_refuses_other_sites():
    assert words(SERVICES["prefect"])[:3] == ["python", "-m", "flows.server"]
    assert {options(SERVICES["prefect"])["allowed-hosts"]} == addresses("PREFECT_API_URL")
    assert "..:/project:ro" in SERVICES["prefect"]["volumes"]


def test_mlflow_answers_its_names_and_no_others():
    command = options(SERVICES["mlflow"])
    asked = addresses("MLFLOW_TRACKING_URI")
    assert set(command["allowed-hosts"].split(",")) == asked | {"127.0.0.1:5000", "localhost:5000"}
    assert "*" not in command["cors-allowed-origins"]
    folder = command["artifacts-destination"]
    assert any(folder.startswith(volume.split(":")[1]) for volume in SERVICES["mlflow"]["volumes"])
    assert "--serve-artifacts" in words(SERVICES["mlflow"])


@our_service
def test_compose_does_not_switch_telemetry_on_again(service):
    assert not set(service.get("environment", {})) & set(TELEMETRY_OFF)


def test_every_volume_that_is_named_is_declared_and_used():
    named = set()
    for service in SERVICES.values():
        named |= {v.split(":")[0] for v in service.get("volumes", []) if re.match(r"[a-z]", v)}
    assert named == set(COMPOSE["volumes"])
