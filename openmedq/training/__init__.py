"""openmedq.training."""
