"""The results of a run as a page and as tables in the terminal. Nothing here computes a score."""
