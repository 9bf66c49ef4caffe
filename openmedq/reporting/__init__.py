"""The results of a run as a page and as tables in the terminal. Scores are computed in `evaluation`."""
