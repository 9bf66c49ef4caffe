"""Training: samples to batches, row sampling, objectives, the update loop, and the stage `train`."""
