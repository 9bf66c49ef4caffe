"""openmedq.medfmc."""
