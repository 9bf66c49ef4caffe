"""CXR8: the reader and the images of its archives."""
