"""The speed of an update is that of the update, not of the moment in which its loss is fetched."""

import pytest
import torch

from openmedq.training import meter


def test_the_speed_of_each_update(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(meter.time, "monotonic", lambda: now)
    shown = []
    with meter.Meter(3, 0, torch.device("cpu")) as own:
        for step in (1, 2, 3):
            now += 4.0
            own.count(step, 1e-3, 0, num_rows=8, num_real=60, num_slots=80)
            if step > 1:
                shown.append(own.measure(step - 1, 1.0, 1.0, {}))
        shown.append(own.measure(3, 1.0, 1.0, {}))
    assert [(each["samples_per_second"], each["tokens_per_second"]) for each in shown] == [(2.0, 15.0)] * 3
    assert {each["padding"] for each in shown} == {0.25}
