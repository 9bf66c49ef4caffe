"""openmedq.evaluation."""
