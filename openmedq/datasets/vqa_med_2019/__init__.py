"""VQA-Med 2019."""
