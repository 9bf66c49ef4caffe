"""openmedq.datasets."""
