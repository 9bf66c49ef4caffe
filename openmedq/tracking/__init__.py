"""MLflow: one run per training, which the later stages join."""
