"""One module per stage of the graph, of the same name; each offers `run`, and leaves its outputs whole."""
