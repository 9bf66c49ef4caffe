"""The gate fails closed: what bears no licence is of an unknown one."""

from __future__ import annotations

from types import SimpleNamespace

import pyarrow as pa

from openmedq.curate.gate import find_refusals
from openmedq.datasets.licences import UNKNOWN


def test_a_row_without_a_licence_is_kept_out_by_any_stricter_policy() -> None:
    licences = pa.array(["CC-BY-4.0", None, ""], pa.string())
    open_set = SimpleNamespace(is_credentialed=False)
    assert find_refusals(open_set, licences, "research").to_pylist() == [None, UNKNOWN, UNKNOWN]  # type: ignore[arg-type]
    assert find_refusals(open_set, licences, "any").to_pylist() == [None] * 3  # type: ignore[arg-type]
