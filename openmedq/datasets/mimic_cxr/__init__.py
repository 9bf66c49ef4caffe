"""MIMIC-CXR: the reader, the layout of PhysioNet's projects, and the sections of reports."""
