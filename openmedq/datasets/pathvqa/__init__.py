"""PathVQA."""
