import math

import pytest
import torch

from openmedq.evaluation.classifier import _objective


@pytest.mark.parametrize(("num_positive", "weight"), [(0, 1), (1, 3), (2, 1), (4, 1)])
def test_positive_rows_of_a_class_count_as_much_as_the_others(num_positive: int, weight: float) -> None:
    """But if all rows have the class, it is learned too: without a weight."""
    targets = (torch.arange(4) < num_positive).float()[:, None]
    terms = 4 + num_positive * (weight - 1)
    assert _objective(targets)(torch.zeros(4, 1), targets).item() == pytest.approx(terms * math.log(2) / 4)
