"""openmedq.conf."""
