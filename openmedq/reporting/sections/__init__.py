"""The sections of the report, each a function of the results; a section without results is None or a sentence."""
