"""ROCO: the reader of both versions, and the layout of ROCOv2."""
