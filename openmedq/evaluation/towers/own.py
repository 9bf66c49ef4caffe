"""The project's own encoders: the trained one, and one with random weights."""

import torch
from PIL.Image import Resampling

from openmedq import paths
from openmedq.config import Vision
from openmedq.evaluation.towers.tower import Preprocessing, Tower, read_preprocessing
from openmedq.model.encoders import scratch
from openmedq.model.model import load as load_model


def load(device: torch.device) -> Tower:
    """Load the image encoder of data/model in fp32; ModelError if the folder has no model."""
    model, processor = load_model(paths.MODEL, device)
    preprocessing = read_preprocessing(processor.image_processor)
    return Tower(model.model.vision_tower.float(), preprocessing, str(paths.MODEL))


def draw(settings: Vision, seed: int, where: str = "train.vision") -> Tower:
    """Build a ViT with random weights and the sizes and preprocessing of `train.vision`; `where` begins errors."""
    torch.manual_seed(seed)
    network = scratch.build(settings.model_copy(update={"weights": None}))
    resample = Resampling[settings.resample.upper()]
    return Tower(network, Preprocessing(settings.image_size_px, settings.mean, settings.std, resample), where)
