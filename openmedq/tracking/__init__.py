"""openmedq.tracking."""
