"""The MedFMC family: datasets that share a layout."""
