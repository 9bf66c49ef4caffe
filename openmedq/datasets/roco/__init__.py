"""openmedq.roco."""
