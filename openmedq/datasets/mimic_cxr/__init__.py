"""openmedq.mimic_cxr."""
