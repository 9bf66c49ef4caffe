"""A tiny saved model."""

from pathlib import Path

import pytest
import torch

from openmedq.evaluation.likelihood import Scorer
from tests.model import tiny


@pytest.fixture(scope="package")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save_model(tmp_path_factory.mktemp("model") / "model")


@pytest.fixture
def scorer(model_folder: Path) -> Scorer:
    return Scorer(model_folder, torch.device("cpu"), batch_size=2)
