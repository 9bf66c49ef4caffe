"""The MedMNIST family: datasets that share a layout."""
