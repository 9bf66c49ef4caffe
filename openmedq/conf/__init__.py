"""Profiles: one YAML file each."""
