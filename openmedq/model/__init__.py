"""The vision-language model: encoder, linear projector, LLaMA with LoRA; from sample to batch to loss.

Shapes: B batch, T tokens, N images, P patches, S side in px, D width, V vocabulary.
"""
