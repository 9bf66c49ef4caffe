"""The whole model and its processor: a standard LLaVA of an encoder, a linear projector and a LLaMA.

`AutoModelForImageTextToText` and `AutoProcessor` load a saved folder without our code.
"""

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

import torch
from peft import PeftModel
from PIL.Image import Resampling
from transformers import (
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil
from transformers.utils import logging as transformers_logging

from openmedq.config import Train, Vision
from openmedq.errors import ModelError, shorten
from openmedq.model import checks, digests, encoders, language, lora, projector
from openmedq.model.prompt import CHAT_TEMPLATE, IMAGE_TOKEN
from openmedq.model.saving import count_bytes as count_bytes
from openmedq.model.saving import save as save


def build(
    settings: Train,
    texts: Iterable[str],
    device: torch.device | str = "cpu",
    share: language.Share = lambda make: make(),
) -> tuple[PeftModel, LlavaProcessor]:
    """Return the model on a device, with `requires_grad` on its trained parts, and its processor.

    The projector, the adapters and (if `is_trained`) the encoder are trained. The embeddings and the head of a new
    language model are trained too; its other layers learn through their adapters. All is fp32, but with precision bf16
    the frozen parts are bf16: published weights of a language model are read in it, straight to the device.
    """
    _quiet()
    frozen = torch.bfloat16 if settings.precision == "bf16" else torch.float32
    vision = encoders.build(settings.vision)
    llama, tokenizer = language.build(settings.language, texts, frozen, device, share)
    if settings.max_tokens > (num_positions := llama.config.max_position_embeddings):
        raise ModelError(
            f"train.max_tokens: {settings.max_tokens}, but the language model has {num_positions} positions; set at "
            f"most {num_positions}"
        )
    tokenizer.model_max_length = settings.max_tokens
    # With padding on the right, `generate` gives other answers in a batch. `save_pretrained` writes what is in
    # `init_kwargs` alone.
    tokenizer.padding_side = tokenizer.init_kwargs["padding_side"] = "left"
    model = assemble(vision, llama, tokenizer, settings.vision)
    projector.fit_norm(model.model.multi_modal_projector, vision, llama.get_input_embeddings().weight, settings.vision)
    adapted = lora.adapt(model, settings.lora, settings.language)
    unfreeze(model, settings)
    encoder = [] if settings.vision.is_trained else [model.model.vision_tower]
    for part in (model.model.language_model, model.lm_head, *encoder):
        for parameter in part.parameters():
            if not parameter.requires_grad:
                parameter.data = parameter.data.to(frozen)
    adapted.to(device)
    checks.remember_base(adapted)
    return adapted, build_processor(tokenizer, settings.vision)


def assemble(
    vision: PreTrainedModel, llama: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, settings: Vision
) -> LlavaForConditionalGeneration:
    """Build a standard LLaVA around the two models, without copying them."""
    config = LlavaConfig(
        vision_config=vision.config,
        text_config=llama.config,
        image_token_index=tokenizer.convert_tokens_to_ids(IMAGE_TOKEN),
        image_seq_length=encoders.count_patches(settings),
        projector_hidden_act=projector.ACTIVATION,
        vision_feature_layer=-1,  # the last layer's tokens, before the last normalization
        vision_feature_select_strategy="default",  # without the class token
        tie_word_embeddings=llama.config.tie_word_embeddings,
    )
    with torch.device("meta"):
        model = LlavaForConditionalGeneration(config)
    model.model.vision_tower = vision
    model.model.language_model = llama.model
    model.lm_head = llama.lm_head
    model.model.multi_modal_projector = projector.build(config)
    for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
        setattr(model.generation_config, name, getattr(tokenizer, name))
    return model


def unfreeze(model: LlavaForConditionalGeneration, settings: Train) -> None:
    """Set `requires_grad` of the modules that are trained fully, in addition to the adapters.

    What LLaVA does not use of the encoder stays frozen: it would get no gradient, for which several devices would wait.
    """
    model.model.multi_modal_projector.linear_1.requires_grad_(True)
    if settings.language.weights is None:
        model.model.language_model.embed_tokens.requires_grad_(True)
        model.lm_head.requires_grad_(True)
    for name, parameter in model.model.vision_tower.named_parameters():
        parameter.requires_grad_(settings.vision.is_trained and not encoders.is_unused(name))


def build_processor(tokenizer: PreTrainedTokenizerBase, settings: Vision) -> LlavaProcessor:
    """Build the processor: tokenizer, chat template and images (RGB, resized to S x S, mean and std)."""
    side = settings.image_size_px
    image_processor = ViTImageProcessorPil(
        do_convert_rgb=True,
        size={"height": side, "width": side},
        resample=Resampling[settings.resample.upper()],
        image_mean=list(settings.mean),
        image_std=list(settings.std),
    )
    return LlavaProcessor(
        image_processor,
        tokenizer,
        patch_size=settings.patch_size_px,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,  # the class token, which "default" drops
        image_token=IMAGE_TOKEN,
        chat_template=CHAT_TEMPLATE,
    )


def load(folder: Path, device: torch.device | str = "cpu") -> tuple[LlavaForConditionalGeneration, Any]:
    """Load a saved model in evaluation mode, and its processor; ModelError if the folder has none, or a damaged one."""
    from transformers import AutoModelForImageTextToText, AutoProcessor

    if not folder.is_dir():  # PEFT would ask the hub for a model of that name
        raise ModelError(f"{folder}: no model there; run `dvc repro`, which trains it")
    _quiet()
    for path in sorted(folder.glob("model*.safetensors")):
        digests.check(path)
    try:
        model = AutoModelForImageTextToText.from_pretrained(folder, local_files_only=True, device_map=device)
        processor = AutoProcessor.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # missing folder, truncated files: many exception types
        raise ModelError(f"{folder}: the model can't be loaded: {shorten(error)}") from error
    return cast(LlavaForConditionalGeneration, model.eval()), processor


def pick_device(device: str) -> torch.device:
    """Return CUDA or the CPU for `auto`, `cuda` or `cpu`; ModelError for `cuda` without a CUDA device."""
    if device == "cuda" and not torch.cuda.is_available():
        raise ModelError("execution.device: cuda, but torch finds no CUDA device; set auto or cpu")
    return torch.device("cuda" if device != "cpu" and torch.cuda.is_available() else "cpu")


def name_device(device: str) -> str:
    """Return the name of the GPU that `pick_device` picks, or CPU."""
    picked = pick_device(device)
    return torch.cuda.get_device_name(picked) if picked.type == "cuda" else "CPU"


def _quiet() -> None:
    if not sys.stderr.isatty():
        transformers_logging.disable_progress_bar()
