from pathlib import Path

import pytest

from openmedq import paths
from openmedq.storage import timing

pytestmark = pytest.mark.usefixtures("empty_folder")

OUTPUT = Path("metrics.json")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each look at the clock is 10 seconds after the one before."""
    times = iter(range(0, 1000, 10))
    monkeypatch.setattr(timing.time, "monotonic", lambda: next(times))


def make(text: str | None, num_devices: int = 2) -> None:
    """An attempt that writes a text, or fails."""
    with timing.record("train", OUTPUT, "GPU", num_devices):
        if text is None:
            raise SystemExit(143)
        OUTPUT.write_text(text)


@pytest.mark.usefixtures("clock")
def test_interrupted_attempts_count_for_the_output_that_follows() -> None:
    make("old")
    for _ in range(2):
        with pytest.raises(SystemExit):
            make(None)
    make("new")
    found = timing.read("train", OUTPUT)
    assert found == timing.Timing(seconds=30, num_attempts=3, device="GPU", num_devices=2)
    assert found.device_hours == pytest.approx(30 * 2 / 3600)


@pytest.mark.usefixtures("clock")
def test_the_time_is_that_of_the_output_at_hand() -> None:
    make("old", num_devices=4)
    assert timing.read("train", OUTPUT) == timing.Timing(10, 1, "GPU", 4)
    make("new")
    assert timing.read("train", OUTPUT) == timing.Timing(10, 1, "GPU", 2)
    OUTPUT.write_text("old")
    assert timing.read("train", OUTPUT) is None
    OUTPUT.unlink()
    assert timing.read("train", OUTPUT) is None


@pytest.mark.parametrize("text", [None, "", '{"seconds": 1', "[]", '{"output": null}'])
def test_without_a_whole_record_there_is_no_time(text: str | None) -> None:
    OUTPUT.write_text("new")
    if text is not None:
        paths.TIMINGS.mkdir(parents=True)
        (paths.TIMINGS / "train.json").write_text(text)
    assert timing.read("train", OUTPUT) is None
    make("new")
    assert timing.read("train", OUTPUT).num_attempts == 1
