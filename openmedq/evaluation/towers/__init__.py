"""The image encoders that `transfer` compares, under one contract: `Tower`."""
