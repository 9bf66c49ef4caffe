"""What the stages left behind, made readable: one page (`page`), and the facts that the closing tables share with it.

Reads results, computes no score. `stages/report.py` writes the page, `summary.py` prints the tables.
"""
