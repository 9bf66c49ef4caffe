import os
import signal
import threading
import time
from pathlib import Path

import pytest
from prefect.client.orchestration import get_client

from flows.__main__ import pipeline
from flows.build import build
from flows.graph import nodes
from flows.learn import learn
from flows.walk import WalkError, render, walk
from openmedq.errors import StaleError

pytestmark = pytest.mark.usefixtures("prefect_server")


@pytest.fixture(autouse=True)
def _in_toy(toy, monkeypatch):
    monkeypatch.chdir(toy)


def read_runs():
    with get_client(sync_client=True) as client:
        return client.read_task_runs()


@pytest.mark.slow
def test_the_whole_flow_leaves_dvc_status_clean_and_a_second_finds_all_cached(toy, dvc):
    before = {run.id for run in read_runs()}
    pipeline(max_workers=2)
    assert dvc("status").stdout.strip() == "Data and pipelines are up to date."
    runs = {run.name: run for run in read_runs() if run.id not in before}
    assert set(runs) == {node.name for node in nodes(toy)}
    assert runs["train"].end_time <= runs["evaluate"].start_time
    gpu = sorted((runs["evaluate"], runs["transfer"]), key=lambda run: run.end_time)
    assert {run.state_name for run in gpu} == {"Completed"}

    outcomes = learn_outcomes(toy)
    assert [outcome.state for outcome in outcomes] == ["cached"] * 17
    with get_client(sync_client=True) as client:
        artifacts = {artifact.key: artifact for artifact in client.read_latest_artifacts()}
    assert "17 cached" in artifacts["nodes"].data and "| `train` | cached |" in artifacts["nodes"].data
    assert (toy / "data/report/index.html").as_uri() in artifacts["report"].data
    assert (toy / "data/docs/index.html").as_uri() in artifacts["data-docs"].data
    with get_client(sync_client=True) as client:
        assert client.read_global_concurrency_limit_by_name("gpu").limit == 1


def learn_outcomes(toy):
    from prefect import flow

    return flow(lambda: walk(toy, nodes(toy), 2), name="again")()


def test_a_failing_node_fails_the_flow_in_one_line_and_nothing_after_it_runs(toy):
    Path("fail-normalize@apple").write_text("1 9 error: apple.csv: no column `question`")
    with pytest.raises(WalkError) as raised:
        build()
    assert str(raised.value) == "normalize@apple: apple.csv: no column `question`; 3 not run"
    assert (toy / "data/samples/plum").exists()  # what does not need it has run
    assert not (toy / "data/verdicts").exists()

    with pytest.raises(StaleError, match=r"not up to date; run `python -m flows.build` first$"):
        learn()
    assert not (toy / "data/model").exists()


def test_what_the_stage_states_is_not_retried(toy):
    Path("fail-download@apple").write_text("1 9 error: mirror: no folder")
    started = time.monotonic()
    with pytest.raises(WalkError, match=r"^download@apple: mirror: no folder; 1 not run$"):
        build(targets=["normalize@apple"])
    assert time.monotonic() - started < 9, "the first retry would come after 10 s"


def test_what_may_pass_is_tried_again(toy, monkeypatch):
    from flows import reproduce

    monkeypatch.setitem(reproduce.RULES, "download", reproduce.Rule(delays_s=(0.1,)))
    Path("fail-download@apple").write_text("75 1 error: host: cut off")
    build(targets=["download@apple"])
    assert (toy / "data/raw/apple/origin.json").exists()


def test_an_interrupted_flow_leaves_no_stage_behind(toy):
    Path("sleep-miniature@apple").write_text("60")
    pid_file = toy / "pid-miniature@apple"

    def interrupt():
        while not (pid_file.exists() and pid_file.read_text()):
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        build(targets=["miniature@apple"])
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid_file.read_text()), 0)


def test_the_table_counts_what_became_of_the_nodes():
    from flows.reproduce import Outcome

    text = render([Outcome("mix", "ran", 1.25), Outcome("train", "failed", 0.0)])
    assert text.splitlines()[0] == "1 ran, 1 failed"
    assert "| `mix` | ran | 1.2 |" in text
