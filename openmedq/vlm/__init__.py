"""The vision-language model: encoder, linear projector, LLaMA with LoRA; from sample to batch to loss."""
