"""openmedq.iu_xray."""
