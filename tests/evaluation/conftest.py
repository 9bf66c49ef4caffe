"""A tiny saved model."""

from pathlib import Path

import pytest
import torch

from openmedq.evaluation.likelihood import Scorer
from openmedq.model import model as models
from tests.model import tiny


@pytest.fixture(scope="package")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "model"
    torch.manual_seed(0)
    model, processor = models.build(tiny.make_settings(), tiny.texts())
    tiny.shake(model)
    models.save(model, processor, folder)
    return folder


@pytest.fixture
def scorer(model_folder: Path) -> Scorer:
    return Scorer(model_folder, torch.device("cpu"), batch_size=2)
