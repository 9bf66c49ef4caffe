import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from .scoring import macro_f1

CLASSES = ("benign", "malignant", "normal")
LABELS = st.sampled_from(CLASSES)
SEVERAL = st.lists(st.tuples(st.sets(LABELS), st.sets(LABELS)), min_size=1, max_size=30)


@given(SEVERAL)
def test_several_labels_agree_with_scikit_learn(rows) -> None:
    labels, predictions = zip(*rows, strict=True)
    is_true, is_predicted = (
        np.array([[name in carried for name in CLASSES] for carried in side], dtype=int)
        for side in (labels, predictions)
    )
    seen = (is_true | is_predicted).any(axis=0)
    ours = macro_f1(labels, predictions, CLASSES)
    if not seen.any():
        assert ours == 0
        return
    theirs = f1_score(is_true, is_predicted, average="macro", labels=np.flatnonzero(seen), zero_division=0)
    assert ours == pytest.approx(theirs)


def test_a_label_that_is_no_class_is_an_error() -> None:
    with pytest.raises(ValueError, match="'cyst' is not one of the classes"):
        macro_f1(["cyst"], ["benign"], CLASSES)
