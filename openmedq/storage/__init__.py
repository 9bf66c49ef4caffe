"""Reading and writing files: atomic outputs, archives, images, Parquet shards and tables."""
