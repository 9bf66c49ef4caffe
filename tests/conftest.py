"""The environment and fixtures of all tests: real data, an empty folder, a toy DVC project, a Prefect server."""

# ruff: noqa: E402  the environment is cleared before any import that reads it

import atexit
import errno
import logging
import os
import re
import shutil
import sys
import tempfile

# The tests must not depend on the user's environment (tokens, proxies, HF_HUB_OFFLINE, MLFLOW_TRACKING_URI, GIT_DIR):
# they keep only the variables below, and HOME is empty, so that no netrc, token, Prefect profile or git configuration
# is read. Some libraries read their variables when they are imported, so that a fixture would come too late.
_KEPT = re.compile(
    "PATH|TMPDIR|TERM|USER|LOGNAME|CI|VIRTUAL_ENV|LD_LIBRARY_PATH|CUDA_VISIBLE_DEVICES|OPENMEDQ_REAL_DATA"
    "|(PYTHON|PYTEST|OPENBLAS_)[A-Z0-9_]*"
)


def _isolate_environment() -> None:
    home = os.environ.get("HOME", "")
    for name in [name for name in os.environ if not _KEPT.fullmatch(name)]:
        del os.environ[name]
    if "PYTEST_XDIST_WORKER" not in os.environ:  # a worker inherits the HOME of the process that started it
        home = tempfile.mkdtemp(prefix="openmedq-tests-home-")
        atexit.register(shutil.rmtree, home, ignore_errors=True)
    os.environ.update(HOME=home, LANG="C.UTF-8")


_isolate_environment()

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

import openmedq  # noqa: F401  says how threads wait, before torch is loaded
from tests.connections import guard, read_attempts
from tests.processes import find_port, wait

# The same examples at every run and no clock; `--hypothesis-profile explore` looks at others each time.
_UNTIMED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
settings.register_profile("repeat", _UNTIMED, derandomize=True)
settings.register_profile("explore", _UNTIMED)
settings.load_profile("repeat")

CATALOGUE = Path(__file__).parents[1] / "data/catalogue.yaml"
_CATALOGUE_BYTES = CATALOGUE.read_bytes()
TOY = Path(__file__).parent / "toy"  # dvc.yaml, params.yaml, stage.py, data/catalogue.yaml


def run(command: list[str], root: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a project, the virtual environment's programs first on the path."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        command, cwd=root, env={**os.environ, "PATH": path, **environment}, capture_output=True, text=True
    )


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """A test with a long text or file is named by its length: the names are printed."""
    return f"{argname} of {len(val)}" if isinstance(val, str | bytes) and len(val) > 100 else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """One worker runs all tests that need the Prefect server: a second server would take half a minute to start."""
    for item in items:
        used = set(getattr(item, "fixturenames", ()))
        if "prefect_server" in used and "project" not in used:  # the whole graph, run once, takes longer still
            item.add_marker(pytest.mark.xdist_group("prefect"))


@pytest.fixture(autouse=True)
def _checkout_stays() -> Iterator[None]:
    """Fail a test that writes the catalogue of the checkout instead of its own project's, and restore it."""
    before = CATALOGUE.stat().st_mtime_ns
    yield
    if CATALOGUE.stat().st_mtime_ns != before:
        CATALOGUE.write_bytes(_CATALOGUE_BYTES)
        pytest.fail(f"the test wrote {CATALOGUE}")


@pytest.fixture(autouse=True)
def _level_of_the_log_stays() -> Iterator[None]:
    """Restore the level that a command of the test has set: other tests read messages."""
    logger = logging.getLogger("openmedq")
    before = logger.level
    yield
    logger.setLevel(before)


@pytest.fixture
def folders_are_disks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each folder is on a disk of its own: nothing can be renamed into another folder."""
    replace = Path.replace

    def replace_in_folder(self: Path, target: Path) -> Path:
        if self.parent != target.parent:
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", replace_in_folder)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real, openly licensed slices in native layout."""
    folder = os.environ.get("OPENMEDQ_REAL_DATA")
    if not folder:
        pytest.skip("OPENMEDQ_REAL_DATA is not set: it names a folder of real datasets in their native layouts")
    return Path(folder)


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> Callable[[], str]:
    """`logged()`: the messages since the last call, one a line."""
    caplog.set_level(logging.INFO, logger="openmedq")

    def take() -> str:
        text = "".join(f"{message}\n" for message in caplog.messages)
        caplog.clear()
        return text

    return take


@pytest.fixture
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def torch_on_one_thread() -> Iterator[None]:
    """Torch computes on one thread; what a training makes of its settings ends with the test."""
    import torch  # slow to load, and few tests need it

    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before[0])
    torch.use_deterministic_algorithms(before[1])


@pytest.fixture(scope="session")
def _toy_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("toy") / "project"
    shutil.copytree(TOY, root, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(TOY.parents[1] / ".gitignore", root)
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    dvc = [sys.executable, "-m", "dvc"]
    for command in (
        ["git", "init", "-q", "-b", "main"],
        [*dvc, "init", "-q"],
        [*dvc, "config", "core.analytics", "false"],
        ["git", "add", "."],
        ["git", *identity, "commit", "-q", "-m", "toy"],
    ):
        done = run(command, root)
        assert done.returncode == 0, done.stderr
    return root


@pytest.fixture
def toy(_toy_template: Path, tmp_path: Path) -> Path:
    """A fresh copy of the toy project: same stages and paths as the real one, trivial commands, 3 sets."""
    return Path(shutil.copytree(_toy_template, tmp_path / "toy", symlinks=True))


@pytest.fixture
def dvc(toy: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run dvc in the toy project: `dvc("repro", "-s", "mix")`."""
    return lambda *words, **environment: run([sys.executable, "-m", "dvc", *words], toy, **environment)


@dataclass
class PrefectServer:
    """A running server, and the folder of its database and of its `guard`."""

    port: int
    folder: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        home = {"PREFECT_HOME": str(self.folder / "home"), "PREFECT_API_URL": f"{self.url}/api"}
        return os.environ | guard(self.folder) | home


@pytest.fixture(scope="session")
def _prefect_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectServer]:
    """One Prefect server for the session, as `make ui` and compose.yaml start it: starting it is slow."""
    import flows  # noqa: F401  telemetry off before Prefect is imported  # isort: skip
    import httpx
    from prefect.settings import PREFECT_API_URL, temporary_settings

    server = PrefectServer(find_port(), tmp_path_factory.mktemp("prefect"))
    command = [sys.executable, "-m", "flows.server", "--port", str(server.port)]
    command += ["--allowed-hosts", f"prefect:{server.port}"]

    def is_up() -> bool:
        assert process.poll() is None, (server.folder / "log").read_text()
        try:
            return httpx.get(f"{server.url}/api/health").is_success
        except httpx.HTTPError:
            time.sleep(0.3)
            return False

    with pytest.MonkeyPatch.context() as patch, (server.folder / "log").open("wb") as log:
        for name, value in guard(server.folder).items():  # for all that the flows start
            patch.setenv(name, value)
        root = Path(__file__).parents[1]
        with subprocess.Popen(command, cwd=root, env=server.environment, stdout=log, stderr=log) as process:
            try:
                wait(is_up, "Prefect's server", 120)
                with temporary_settings({PREFECT_API_URL: f"{server.url}/api"}):
                    yield server
            finally:
                process.terminate()
                with suppress(subprocess.TimeoutExpired):
                    process.wait(30)
                process.kill()
    assert read_attempts(server.folder) == []


@pytest.fixture
def prefect_server(_prefect_server: PrefectServer) -> Iterator[PrefectServer]:
    """The session's Prefect server. What sends events to it ends with the test.

    Its connection draws from the global `random` at each ping, in whatever test runs by then; Hypothesis takes that for
    the doing of its strategies, and fails.
    """
    from prefect.events.worker import EventsWorker

    yield _prefect_server
    _, stuck = EventsWorker.drain_all(timeout=60, at_exit=False)
    assert not stuck
