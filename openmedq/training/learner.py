"""The module that is trained: the model with its objectives, one call per micro batch.

DistributedDataParallel and `fully_shard` act on calls of the wrapped module, so that the whole micro batch is one call.
It runs the parts of the LLaVA itself, because LLaVA's own `forward`

- computes logits for each position: here the language head sees the states before learned tokens only;
- takes an attention mask: with padding on the right, no token sees padding in causal attention;
- waits for the device, to count image slots and to look for packed rows.

A test compares the logits with those of the stock model.
"""

from contextlib import AbstractContextManager
from typing import Any, cast

import torch
from peft import PeftModel
from torch import Tensor, nn

from openmedq.config import Train
from openmedq.model.batch import Batch
from openmedq.model.pixels import normalize
from openmedq.training import objectives
from openmedq.training.objectives import Losses


class Learner(nn.Module):
    """The adapted model and the parameters of its objectives; `forward` returns the losses of a micro batch.

    Padding must be on the right. In training, each trained parameter gets a gradient from each micro batch, if several
    processes train together.
    """

    def __init__(self, model: PeftModel, settings: Train) -> None:
        super().__init__()
        self.model = model
        self._settings = settings
        if settings.contrastive_weight:  # vectors, because `fully_shard` can't divide scalars
            self.log_scale = nn.Parameter(torch.tensor([objectives.LOG_SCALE]))
            self.bias = nn.Parameter(torch.tensor([objectives.BIAS]))
        if not settings.next_token_weight:
            self._llava.lm_head.requires_grad_(False)  # it gets no gradient

    def forward(self, batch: Batch) -> Losses:
        """Compute the losses of a batch on the model's device, without waiting for the device."""
        settings = self._settings
        with self._precision(batch.ids.device):
            tokens = self._encode_images(batch)
            slots = self._find_slots(batch, tokens)
            next_token = contrastive = tokens.new_zeros((), dtype=torch.float32)
            of_rows = next_token.expand(len(batch.ids))
            if settings.next_token_weight:
                states = self._run(self._embed(batch.ids, tokens, slots)).flatten(0, 1)
                logits = self._llava.lm_head(states.index_select(0, batch.learned - 1))
                next_token, of_rows = objectives.cross_entropy(logits, batch)
            if settings.contrastive_weight:
                contrastive = self._contrast(batch, tokens, slots)
        if not len(batch.pixels):
            next_token = next_token + 0 * tokens.float().sum()  # the gradient of the blank image is zero
        return Losses(next_token, contrastive, of_rows, _mark_learned(batch).sum(dim=1))

    @property
    def _llava(self) -> Any:
        return self.model.get_base_model()

    def _precision(self, device: torch.device) -> AbstractContextManager[None]:
        return torch.autocast(device.type, torch.bfloat16, enabled=self._settings.precision == "bf16")

    def _encode_images(self, batch: Batch) -> Tensor:
        """Return the projected patches (N, P, D).

        In a batch without images, they are those of one blank image if there are other processes, which wait for this
        one in collective operations, and else (0, P, D).
        """
        config = self._llava.config
        if len(batch.pixels):
            pixels = normalize(batch.pixels, self._settings.vision.mean, self._settings.vision.std)
        elif objectives.is_distributed():
            side = config.vision_config.image_size
            pixels = torch.zeros(1, 3, side, side, device=batch.ids.device)
        else:
            return torch.zeros(0, config.image_seq_length, config.text_config.hidden_size, device=batch.ids.device)
        return torch.stack(self._llava.get_image_features(pixels).pooler_output)

    def _find_slots(self, batch: Batch, tokens: Tensor) -> Tensor:
        """Return the places of the N P image slots in the flat (B T,)."""
        is_slot = (batch.ids == self._llava.config.image_token_index).flatten()
        num_slots = len(batch.pixels) * tokens.shape[1]
        torch._assert_async(is_slot.sum() == num_slots, "image slots and projected patches differ in number")
        return torch.nonzero_static(is_slot, size=num_slots)[:, 0]

    def _embed(self, ids: Tensor, tokens: Tensor, slots: Tensor) -> Tensor:
        """Return the input of the language model (B, T, D): word embeddings, and projected patches at their slots."""
        embedded = self._llava.get_input_embeddings()(ids)
        patches = tokens.flatten(0, 1)[: len(slots)].to(embedded.dtype)
        return cast(Tensor, embedded.flatten(0, 1).index_copy(0, slots, patches).view(embedded.shape))

    def _run(self, states: Tensor) -> Tensor:
        """Return the last hidden states (B, T, D) of causal attention without a mask."""
        llama = self._llava.model.language_model
        if self._settings.precision == "bf16":
            states = states.bfloat16()  # otherwise trained embeddings would make the residual stream fp32
        rotary = llama.rotary_emb(states, position_ids=torch.arange(states.shape[1], device=states.device)[None])
        for layer in llama.layers:
            states = layer(states, position_embeddings=rotary)
        return cast(Tensor, llama.norm(states))

    def _contrast(self, batch: Batch, tokens: Tensor, slots: Tensor) -> Tensor:
        """Return the contrastive loss between each image, the mean of its patches, and its sample's answer."""
        rows = slots[:: tokens.shape[1]] // batch.ids.shape[1]  # (N,) the sample of each image
        answers, keys = self._pool_answers(batch)
        answers, keys = answers[rows], keys[rows]
        images, own_keys = tokens[: len(rows)].float().mean(dim=1), keys
        if objectives.is_distributed():
            answers, keys = objectives.gather(answers, keys)
        is_same = own_keys[:, None] == keys[None]
        return objectives.contrast(images, answers, is_same, self.log_scale.exp(), self.bias)

    def _pool_answers(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the mean of the last hidden states over each answer, (B, D), and the answers' fingerprints, (B,).

        The answers are run without image and prompt: their states in the other pass depend on the image.
        """
        is_answer = _mark_learned(batch)
        order = is_answer.argsort(dim=1, descending=True, stable=True)  # moves the answers to the front
        order = order[:, : max(1, batch.max_learned)]
        mask, ids = is_answer.gather(1, order), batch.ids.gather(1, order)
        states = self._run(self._llava.get_input_embeddings()(ids * mask)).float() * mask[..., None]
        pooled = states.sum(dim=1) / mask.sum(dim=1, keepdim=True).clamp(min=1)
        return pooled, objectives.fingerprint(ids, mask)


def _mark_learned(batch: Batch) -> Tensor:
    """Return 1 at learned tokens and 0 elsewhere, (B, T)."""
    return torch.zeros_like(batch.ids).flatten().index_fill(0, batch.learned, 1).view(batch.ids.shape)
