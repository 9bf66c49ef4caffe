"""A tiny model, and its processor, which is built once."""

from typing import Any

import pytest
import torch
from peft import PeftModel

from openmedq.model import model as models

from . import tiny


@pytest.fixture(scope="package")
def processor() -> Any:
    torch.manual_seed(0)
    return models.build(tiny.make_settings(), tiny.texts())[1]


@pytest.fixture(scope="package")
def tokenizer(processor: Any) -> Any:
    return processor.tokenizer


@pytest.fixture
def model() -> PeftModel:
    torch.manual_seed(0)
    return models.build(tiny.make_settings(), tiny.texts())[0]
