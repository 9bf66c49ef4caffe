"""Duplicates and contamination: who repeats whom, by text, by pixels and by look."""
