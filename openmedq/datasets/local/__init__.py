"""Datasets that the user declares in params.yaml (`local`)."""
