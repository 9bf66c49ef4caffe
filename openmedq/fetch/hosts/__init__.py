"""openmedq.hosts."""
