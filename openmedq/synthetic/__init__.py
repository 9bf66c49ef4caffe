"""openmedq.synthetic."""
