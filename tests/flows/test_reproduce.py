from contextlib import contextmanager, nullcontext
from types import SimpleNamespace

import httpx
import pytest

from flows import reproduce
from flows.graph import Node
from flows.reproduce import SLOTS, NodeError, is_worth_retrying, task_for
from openmedq.stages import STAGES

DVC_ERROR = "ERROR: failed to reproduce 'x': failed to run: python x.py, exited with {}"


def test_downloads_are_retried_with_growing_delays_and_training_stages_use_the_gpu_slot():
    download = task_for(Node("download@apple", "download", ()))
    assert download.retries == 3 and download.retry_delay_seconds == [10, 60, 300] and download.retry_jitter_factor > 0
    for stage in ("train", "evaluate", "transfer"):
        assert task_for(Node(stage, stage, ())).retries == 0
        assert STAGES[stage].slot == "gpu"
    assert SLOTS == {"gpu": 1} and {stage.slot for stage in STAGES.values()} == {"gpu", None}


@pytest.mark.parametrize("own", [None, NodeError("train", ["error: no data"]), SystemExit(1)], ids=repr)
def test_a_server_that_is_down_at_the_end_does_not_hide_the_result_of_a_stage(own, monkeypatch):
    @contextmanager
    def concurrency(slot, **options):
        assert options["raise_on_lease_renewal_failure"] is False  # Prefect would stop the stage after seconds
        try:
            yield
        finally:
            raise httpx.ConnectError("All connection attempts failed")

    monkeypatch.setattr(reproduce, "concurrency", concurrency)
    with pytest.raises(type(own)) if own else nullcontext() as caught, reproduce._occupy("gpu"):
        if own:
            raise own
    assert own is None or caught.value is own


def test_without_a_slot_no_stage_starts(monkeypatch):
    @contextmanager
    def concurrency(slot, **options):
        raise httpx.ConnectError("All connection attempts failed")
        yield

    monkeypatch.setattr(reproduce, "concurrency", concurrency)
    with pytest.raises(httpx.ConnectError), reproduce._occupy("gpu"):
        pytest.fail("the stage started")


@pytest.mark.parametrize(
    ("lines", "text", "is_temporary"),
    [
        (["> python x.py", "error: a.csv: no column b", "", DVC_ERROR.format(1)], "x: a.csv: no column b", False),
        (["> python x.py", "error: host: cut off", DVC_ERROR.format(75)], "x: host: cut off", True),
        (["Traceback", "TimeoutError: slow", DVC_ERROR.format(1)], "x: TimeoutError: slow", True),
        (["half way", DVC_ERROR.format(-9)], "x: half way", True),
        (
            ["ERROR: failed to reproduce 'x': missing data 'source': d"],
            "x: failed to reproduce 'x': missing data 'source': d",
            False,
        ),
        ([], "x: no output", False),
    ],
)
def test_an_error_is_one_line_and_only_temporary_ones_are_retried(lines, text, is_temporary):
    error = NodeError("x", lines)
    assert str(error) == text
    state = SimpleNamespace(result=lambda raise_on_failure: error)
    assert is_worth_retrying(None, None, state) is is_temporary
