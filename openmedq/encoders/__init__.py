"""Image encoders by name: each module builds a transformers vision model, from scratch or from published weights."""
