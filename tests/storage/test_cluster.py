import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from openmedq.config import Execution, Normalize
from openmedq.errors import OpenMedQError, ParamsError, TemporaryError
from openmedq.schema import BrokenImage, Image, Reason
from openmedq.storage import cluster
from openmedq.storage.decoding import encode_image, open_executor
from tests.curate.corpus import make_params
from tests.dask_cluster import DaskCluster, hold, run_cluster
from tests.processes import wait
from tests.stages.toyset import make_png

NOWHERE = "tcp://127.0.0.1:1"


def test_without_distributed_one_line_names_it(monkeypatch: pytest.MonkeyPatch, empty_folder: None) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ModuleNotFoundError) as caught, open_executor(Execution(scheduler=NOWHERE)):
        pass
    assert caught.value.name == "distributed"


@pytest.mark.parametrize("address", ["", "127.0.0.1:8786", "http://127.0.0.1:8786", "tcp://host", "tcp://a@b:8786"])
def test_an_address_of_another_form_is_refused_with_the_parameters(address: str) -> None:
    with pytest.raises(ParamsError, match=r"execution\.scheduler: .*must be tcp://HOST:PORT or tls://HOST:PORT"):
        make_params(execution={"scheduler": address})


@pytest.fixture
def dask(empty_folder: None) -> None:
    pytest.importorskip("distributed", reason="distributed is not installed (extra `cluster`)")


@pytest.fixture
def short_timeout(dask: None) -> Iterator[None]:
    from dask import config

    with config.set({"distributed.comm.timeouts.connect": "1s"}):
        yield


@pytest.mark.usefixtures("short_timeout")
@pytest.mark.parametrize(
    ("address", "error", "line"),
    [
        (NOWHERE, TemporaryError, r"^tcp://127\.0\.0\.1:1: no Dask scheduler answers \(.*\); check execution\.sched"),
        ("tls://127.0.0.1:1", TemporaryError, r"^tls://127\.0\.0\.1:1: no .*; check .* and distributed\.comm\.tls"),
    ],
)
def test_a_scheduler_that_is_not_there_is_one_line(address: str, error: type[Exception], line: str) -> None:
    with pytest.raises(error, match=line), open_executor(Execution(scheduler=address)):
        pass


@pytest.mark.usefixtures("short_timeout")
def test_a_scheduler_without_workers_is_one_line(tmp_path: Path) -> None:
    with (
        run_cluster(tmp_path, tmp_path / "scratch", num_workers=0) as processes,
        pytest.raises(
            TemporaryError, match=r"^tcp://127.*: .*no worker is left; start .* `python -m dask worker tcp://127"
        ),
        open_executor(Execution(scheduler=processes.address)),
    ):
        pass


def _is_held(folder: Path) -> list[int]:
    return [int(path.name) for path in folder.iterdir() if path.name.isdigit()]


@pytest.mark.usefixtures("dask")
def test_the_task_of_a_killed_worker_is_run_by_another_one(tmp_path: Path) -> None:
    (tmp_path / "held").mkdir()
    with (
        run_cluster(tmp_path, tmp_path / "scratch", num_workers=2) as processes,
        open_executor(Execution(scheduler=processes.address)) as (executor, _),
    ):
        future = executor.submit(hold, tmp_path / "held")
        wait(lambda: bool(_is_held(tmp_path / "held")), "a worker that runs the task")
        (first,) = _is_held(tmp_path / "held")
        processes.kill(first)
        (tmp_path / "held/go").touch()
        assert future.result() == processes.workers[0].pid != first


@pytest.mark.usefixtures("dask")
def test_workers_give_what_this_process_gives_and_keep_nothing(tmp_path: Path) -> None:
    from distributed import Client

    Path("a.png").write_bytes(make_png(1))
    with (
        run_cluster(tmp_path, tmp_path / "scratch", num_workers=1) as processes,
        open_executor(Execution(scheduler=processes.address)) as (executor, num_ahead),
        Client(processes.address, set_as_default=False) as client,
    ):
        assert num_ahead == cluster.TASKS_PER_WORKER
        shown = [Image("a", path=Path("a.png")), Image("b", data=b"none"), Image("c", path=Path("c.png"))]
        good, broken, missing = (executor.submit(encode_image, image, Normalize()) for image in shown)
        assert good.result() == encode_image(shown[0], Normalize())
        for future, reason in ((broken, Reason.IMAGE_UNREADABLE), (missing, Reason.IMAGE_MISSING)):
            problem = future.exception()
            assert isinstance(problem, BrokenImage)
            assert problem.reason is reason
        wait(lambda: list(client.run(_count_results).values()) == [0], "workers without results")


def _count_results(dask_worker: Any) -> int:
    return len(dask_worker.data)


@pytest.mark.usefixtures("dask")
def test_a_worker_of_another_environment_or_folder_is_one_line(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    with run_cluster(tmp_path, tmp_path / "scratch", num_workers=1) as processes:
        with monkeypatch.context() as patch:
            patch.setitem(cluster._LOADED, "pillow", "1.0")
            _expect(processes, r"^execution\.scheduler: a worker on \S+ has pillow [\d.]+, this machine 1\.0; start")
        monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
        _expect(processes, r"^execution\.scheduler: a worker on \S+ does not see data/\.partial of the project; start")


@pytest.mark.usefixtures("dask")
def test_a_cluster_without_this_code_is_one_line(tmp_path: Path) -> None:
    with run_cluster(tmp_path, tmp_path / "scratch", num_workers=1, has_code=False) as processes:
        _expect(processes, r"^tcp://\S+: a task can't run there \(.*No module named 'openmedq'.*\); .* start them")


def _expect(processes: DaskCluster, line: str) -> None:
    with pytest.raises(OpenMedQError, match=line) as caught, open_executor(Execution(scheduler=processes.address)):
        pass
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("dask")
@pytest.mark.parametrize(
    ("killed", "settings", "line"),
    [
        (
            "worker",
            {"no_workers_timeout": "1s"},
            r": lost the scheduler, or no worker is left; start .* `python -m dask worker tcp://\S+`",
        ),
        (
            "worker",
            {"allowed_failures": "0"},
            r": a task can't run there \(KilledWorker: .*\); give the workers more mem",
        ),
        ("scheduler", {}, r": lost the scheduler, .* run the command again$"),
    ],
    ids=["no worker is left", "a task kills its workers", "no scheduler is left"],
)
def test_what_dies_on_the_way_is_one_line(
    killed: str, settings: dict[str, str], line: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "held").mkdir()
    with (
        run_cluster(tmp_path, tmp_path / "scratch", num_workers=1, **settings) as processes,
        pytest.raises(OpenMedQError, match=line) as caught,
        open_executor(Execution(scheduler=processes.address)) as (executor, _),
    ):
        future = executor.submit(hold, tmp_path / "held")
        wait(lambda: bool(_is_held(tmp_path / "held")), "a worker that runs the task")
        (processes.workers[0] if killed == "worker" else processes.scheduler).kill()
        future.result()
    assert "\n" not in str(caught.value)
    assert capfd.readouterr().err == ""
