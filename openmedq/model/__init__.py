"""The vision-language model: image encoder, linear projector, LLaMA with LoRA; prompts, batches, export.

Shapes: B batch, T tokens, N images, P patches, S side in px, D width, V vocabulary.
"""
