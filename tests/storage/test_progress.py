import logging

import pytest

from openmedq.storage import progress


def test_a_log_gets_a_line_a_minute(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    now = 0.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    caplog.set_level(logging.INFO, progress.logger.name)
    with progress.progress("train", 400) as advance:
        advance(100)  # done by an earlier process
        for now in range(10, 130, 10):
            advance(10, f"train: loss {now}")
    assert caplog.messages == [
        "train: loss 60: 160 of 400, 2 min left",
        "train: loss 120: 220 of 400, 3 min left",
    ]


def test_unknown_totals_and_bytes(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(progress, "PERIOD_S", 0.0)
    caplog.set_level(logging.INFO, progress.logger.name)
    with progress.progress("hashing", None, is_bytes=True) as advance:
        advance(2_500_000)
    assert caplog.messages == ["hashing: 2.5 MB"]
    monkeypatch.setenv("RANK", "1")
    with progress.progress("hashing", None) as advance:
        advance(1)
    assert len(caplog.messages) == 1
