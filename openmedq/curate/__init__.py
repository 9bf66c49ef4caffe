"""From published records to the index of the mix: normalize, deduplicate, mix, validate."""
