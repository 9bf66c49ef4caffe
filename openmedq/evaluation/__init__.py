"""Answers and transfer of the trained model, and their scores."""
