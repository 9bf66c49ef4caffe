"""openmedq.medmnist."""
